import numpy as np
import pytest
import tensorflow as tf

from flowzoo import random
from flowzoo.bases import Uniform


def uniform(event=(3,), **kwargs):
    base = Uniform(**kwargs)
    base.build((None, *event))
    return base


@pytest.mark.parametrize("event", [(3,), (2, 2, 3)])
def test_log_prob_is_zero_inside_and_minus_infinity_outside(event):
    base = uniform(event)
    inside = np.full((3, *event), 0.5, np.float32)
    inside[1].flat[0], inside[2].flat[-1] = -0.01, 1.01
    np.testing.assert_array_equal(base.log_prob(tf.constant(inside)), [0.0, -np.inf, -np.inf])
    assert float(base.distribution().log_prob(inside[0])) == 0.0


def test_samples_fill_the_cube_and_never_touch_its_edges():
    z = uniform().sample(tf.constant(random.row_seeds(0, 20_000)), tf.ones([20_000])).numpy()
    assert 0.0 < z.min() < 1e-3
    assert 1.0 > z.max() > 1 - 1e-3
    np.testing.assert_allclose(z.mean(0), 0.5, atol=4 * np.sqrt(1 / 12 / 20_000))


def test_the_rarest_noise_stays_inside_the_cube(monkeypatch):
    edges = tf.constant([[0.0, 1.0 - 2.0**-24, 0.5]])
    monkeypatch.setattr(random, "uniform", lambda *_: edges)
    z = uniform().sample(tf.zeros([1], tf.int64), tf.ones([1])).numpy()
    assert np.all((z > 0.0) & (z < 1.0))


def test_cold_samples_gather_in_the_middle_and_hot_ones_count_as_1():
    base, seeds = uniform(), tf.constant(random.row_seeds(0, 3))
    plain = base.sample(seeds, tf.ones([3]))
    got = base.sample(seeds, tf.constant([0.0, 0.5, 7.0])).numpy()
    np.testing.assert_array_equal(got[0], np.full(3, 0.5))
    np.testing.assert_allclose(got[1] - 0.5, 0.5 * (plain[1] - 0.5), rtol=1e-6)
    np.testing.assert_array_equal(got[2], plain[2])


def test_the_batch_shape_is_the_contexts():
    assert uniform().distribution(tf.ones([5, 2])).batch_shape == (5,)
