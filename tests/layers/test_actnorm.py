import numpy as np
import pytest
import tensorflow as tf

from flowzoo.layers import ActNorm


@pytest.mark.parametrize("event", [(3,), (4, 2, 3)])
def test_adapt_gives_latents_of_mean_0_and_variance_1(rng, event):
    layer = ActNorm(dtype="float64")
    layer.build((None, *event))
    x = tf.constant(rng.normal([1.0, -5.0, 100.0], [0.1, 2.0, 30.0], (500, *event)))
    returned = layer.adapt(x)
    z = layer.bijector().inverse(x)
    axes = tuple(range(len(event)))
    np.testing.assert_allclose(np.mean(z, axes), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.var(z, axes), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(returned, z)


def test_a_new_one_is_the_identity_whatever_it_sees_first(rng):
    layer = ActNorm()
    layer.build((None, 3))
    x = rng.normal(5.0, 3.0, (10, 3)).astype(np.float32)
    np.testing.assert_array_equal(layer(x, training=True), x)
    np.testing.assert_array_equal(layer.bijector(training=True).forward(x), x)


def test_a_constant_channel_does_not_explode():
    layer = ActNorm()
    layer.build((None, 2))
    layer.adapt(tf.constant([[1.0, 0.0], [1.0, 2.0]]))
    assert np.isfinite(layer.log_scale.numpy()).all()
    assert np.abs(layer(tf.constant([[2.0, 0.0]]))).max() < 1e4


def test_both_weights_are_trained():
    layer = ActNorm()
    layer.build((None, 4, 4, 2))
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2,), (2,)]
