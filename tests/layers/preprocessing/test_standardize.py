import numpy as np
import tensorflow as tf

from flowzoo import Flow
from flowzoo.layers import Standardize


def built(layer, event=(3,)):
    layer.build((None, *event))
    return layer


def test_standardize_is_the_identity_until_it_is_set(rng):
    x = rng.normal(5.0, 2.0, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(Standardize())(x), x)


def test_standardize_removes_mean_and_deviation(rng):
    layer = built(Standardize(dtype="float64"))
    layer.set_moments(np.array([1.0, 2.0, 3.0]), np.array([4.0, 0.25, 9.0]))
    z = layer.bijector().inverse(tf.constant([[3.0, 2.5, 0.0]], tf.float64))
    np.testing.assert_allclose(z, [[1.0, 1.0, -1.0]])


def test_standardize_changes_log_prob_by_exactly_the_log_of_the_deviations(rng):
    variance = np.array([4.0, 0.25, 9.0])
    flow = Flow([], (3,), preprocessing=[Standardize(dtype="float64")], dtype="float64")
    x = rng.normal(size=(5, 3))
    before = flow.density.log_density(tf.constant(x)).numpy()
    flow.preprocessing[0].set_moments(np.zeros(3), variance)
    after = flow.density.log_density(tf.constant(x * np.sqrt(variance))).numpy()
    np.testing.assert_allclose(after, before - 0.5 * np.log(variance).sum(), rtol=1e-12)


def test_standardize_does_not_scale_a_column_without_variance():
    layer = built(Standardize())
    layer.set_moments(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(layer.log_std, np.zeros(3))


def test_standardize_is_not_trained():
    assert built(Standardize()).trainable_weights == []
