import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases import Normal


def normal(event=(3,), **kwargs):
    base = Normal(**kwargs)
    base.build((None, *event))
    return base


@pytest.mark.parametrize("event", [(3,), (2, 2, 3)])
def test_log_prob_is_tfps(rng, event):
    base = normal(event, dtype="float64")
    z = rng.normal(size=(5, *event))
    wanted = tfp.distributions.Sample(tfp.distributions.Normal(np.float64(0), np.float64(1)), event)
    np.testing.assert_allclose(base.log_prob(tf.constant(z)), wanted.log_prob(z), rtol=1e-12)
    np.testing.assert_allclose(base.distribution().log_prob(z), wanted.log_prob(z), rtol=1e-12)


def test_samples_are_the_noise_of_their_seeds():
    base, seeds = normal((2, 3)), tf.constant(random.row_seeds(0, 4))
    noise = np.reshape(random.normal(seeds, 6), [4, 2, 3])
    np.testing.assert_array_equal(base.sample(seeds, tf.ones([4])), noise)


def test_the_temperature_of_a_row_scales_it():
    base, seeds = normal(), tf.constant(random.row_seeds(0, 3))
    cold = base.sample(seeds, tf.constant([0.0, 0.5, 1.0]))
    noise = base.sample(seeds, tf.ones([3]))
    np.testing.assert_allclose(cold, noise * np.array([[0.0], [0.5], [1.0]]), rtol=1e-6)


def test_the_batch_shape_is_the_contexts():
    base = normal()
    assert base.distribution().batch_shape == ()
    assert base.distribution(tf.ones([5, 2])).batch_shape == (5,)
    assert base.distribution(tf.ones([5, 2])).event_shape == (3,)
