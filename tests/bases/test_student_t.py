import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases import StudentT
from flowzoo.bases.student_t import log_gamma_step


def student(df, event=(2,), **kwargs):
    base = StudentT(df, dtype=kwargs.pop("dtype", "float64"), **kwargs)
    base.build((None, *event))
    return base


def test_the_step_of_log_gamma_is_exact():
    x = np.concatenate([np.linspace(1.0, 20.0, 300), np.logspace(1, 6, 100)])
    wanted = [math.lgamma(value + 0.5) - math.lgamma(value) for value in x]
    # math.lgamma itself is exact only relative to its value.
    np.testing.assert_allclose(log_gamma_step(tf.constant(x[:300])), wanted[:300], rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_gamma_step(tf.constant(x)), wanted, rtol=0, atol=1e-8)
    np.testing.assert_allclose(log_gamma_step(tf.constant(x, tf.float32)), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("df", [2.01, 3.0, 30.0, 900.0])
def test_samples_follow_the_distribution(df):
    count = 20_000
    z = student(df).sample(tf.constant(random.row_seeds(0, count)), tf.ones([count])).numpy()
    cdf = tfp.distributions.StudentT(np.float64(df), np.float64(0.0), np.float64(1.0)).cdf
    for column in (0, 1):
        levels = np.sort(cdf(z[:, column]))
        distance = np.abs(levels - (np.arange(count) + 0.5) / count).max()
        assert distance < 1.95 / np.sqrt(count)
    # Two columns of one row are independent, and so are their magnitudes.
    size = np.minimum(np.abs(z), 3.0)
    assert abs(np.corrcoef(size.T)[0, 1]) < 4 / np.sqrt(count)


def test_small_samples_keep_their_digits_at_many_degrees_of_freedom():
    seeds = tf.constant(random.row_seeds(0, 4000))
    single, double = (
        student(900.0, dtype=dtype).sample(seeds, tf.ones([4000])) for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-6)


def test_the_temperature_multiplies_the_latents():
    base, seeds = student(5.0), tf.constant(random.row_seeds(0, 3))
    cold = base.sample(seeds, tf.constant([0.0, 0.5, 1.0], tf.float64))
    np.testing.assert_allclose(cold, base.sample(seeds, tf.ones([3])) * [[0.0], [0.5], [1.0]], rtol=1e-12)


def test_degrees_of_freedom_may_be_shared_and_stay_in_their_bounds():
    assert student(7.0, shared=True).df.shape == ()
    base = student(7.0, (2, 2))
    np.testing.assert_allclose(base.df, np.full((2, 2), 7.0))
    for raw, bound in ((-1e6, 2.0), (1e6, 1000.0)):
        base.raw_df.assign(np.full((2, 2), raw))
        np.testing.assert_allclose(base.df, np.full((2, 2), bound))
        assert np.isfinite(base.log_prob(tf.ones([1, 2, 2], tf.float64))).all()


def test_the_shared_ones_density_is_tfps(rng):
    base = student(3.5, (4,), shared=True)
    z = rng.normal(size=(5, 4))
    np.testing.assert_allclose(base.log_prob(tf.constant(z)), base.distribution().log_prob(z), rtol=1e-10)


@pytest.mark.parametrize("df", [2.0, 1000.0, float("nan")])
def test_degrees_of_freedom_out_of_bounds_are_refused(df):
    with pytest.raises(ValueError, match="df must lie between 2 and 1000"):
        StudentT(df)
