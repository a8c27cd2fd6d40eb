import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal

from flowzoo import random
from flowzoo.bases import ConditionalGaussian, DiagonalGaussian, FullGaussian
from flowzoo.testing import perturb


def sample(base, rows, temperature=1.0, context=None):
    return base.sample(tf.constant(random.row_seeds(0, rows)), tf.fill([rows], temperature), context).numpy()


def test_the_diagonal_scales_the_noise_and_the_temperature_only_that():
    base = DiagonalGaussian()
    base.build((None, 2))
    base.loc.assign([1.0, -2.0])
    base.log_scale.assign(np.log([0.5, 3.0]))
    noise = random.normal(tf.constant(random.row_seeds(0, 4)), 2)
    np.testing.assert_allclose(sample(base, 4, 0.5), [1.0, -2.0] + noise * [0.25, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(sample(base, 2, 0.0), [[1.0, -2.0]] * 2)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 33])
def test_the_covariance_is_the_inverse_of_the_learned_precision(size):
    base = FullGaussian(dtype="float64")
    base.build((None, size))
    perturb(base, 0.3)
    assert base.factor.shape == (size * (size + 1) // 2,)
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = base.factor.numpy()
    np.fill_diagonal(matrix, np.exp(np.diag(matrix)))
    covariance = np.linalg.inv(matrix.T @ matrix)
    np.testing.assert_allclose(base.distribution().covariance(), covariance, rtol=1e-8, atol=1e-8)
    # Inverting loc + A^-1 noise gives the noise again.
    z = sample(base, 6)
    noise = random.normal(tf.constant(random.row_seeds(0, 6)), size)
    np.testing.assert_allclose((z - base.loc.numpy()) @ matrix.T, noise, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_moments_can_be_set(size, rng):
    rows = rng.normal(size=(50, size)) @ rng.normal(size=(size, size)) + 3.0
    mean, covariance = rows.mean(0), np.cov(rows.T).reshape(size, size)
    base = FullGaussian(dtype="float64")
    base.build((None, size))
    base.set_moments(mean, covariance)
    np.testing.assert_allclose(base.distribution().covariance(), covariance, rtol=1e-8, atol=1e-10)
    wanted = multivariate_normal(mean, covariance).logpdf(rows)
    np.testing.assert_allclose(base.log_prob(tf.constant(rows)), wanted, rtol=1e-8)


def test_the_full_gaussian_keeps_the_shape_of_images():
    base = FullGaussian()
    base.build((None, 2, 2, 3))
    perturb(base, 0.3)
    z = sample(base, 4)
    assert z.shape == (4, 2, 2, 3)
    assert base.log_prob(tf.constant(z)).shape == (4,)
    assert base.distribution().event_shape == (2, 2, 3)
    assert base.distribution(tf.ones([5, 2])).batch_shape == (5,)


def test_large_weights_off_the_diagonal_do_not_spoil_the_gradient():
    base = FullGaussian()
    base.build((None, 2))
    base.factor.assign([0.0, 200.0, 0.0])
    with tf.GradientTape() as tape:
        log_prob = base.log_prob(tf.ones([1, 2]))
    assert np.isfinite(tape.gradient(log_prob, base.factor.value)).all()


def test_every_class_has_its_own_gaussian():
    base = ConditionalGaussian()
    base.build((None, 2), (None, 2))
    base.kernel.assign([[1.0, 2.0, 0.0, 0.0], [-3.0, 0.0, 1.0, -1.0]])
    z = sample(base, 2, 0.0, tf.eye(2))
    np.testing.assert_allclose(z, [[1.0, 2.0], [-3.0, 0.0]], rtol=1e-6)
    scale = np.exp(3.0 * np.tanh(np.array([1.0, -1.0]) / 3.0))
    np.testing.assert_allclose(base.distribution(tf.eye(2)).stddev()[1], scale, rtol=1e-6)
    assert base.distribution(tf.eye(2)).batch_shape == (2,)


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_the_scale_of_a_conditional_gaussian_is_bounded(size):
    base = ConditionalGaussian(scale_bound=2.0)
    base.build((None, 2), (None, 1))
    base.kernel.assign([[0.0, 0.0, 1.0, -1.0]])
    log_scale = np.log(base.distribution(tf.fill([1, 1], size)).stddev())
    assert np.all(np.abs(log_scale) <= 2.0 + 1e-6)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="scale_bound must be > 0; got 0"):
        ConditionalGaussian(scale_bound=0)
    with pytest.raises(ValueError, match="needs a context"):
        ConditionalGaussian().build((None, 2))
