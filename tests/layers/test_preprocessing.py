import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from flowzoo import Flow, testing
from flowzoo.layers import Dequantize, Logit, Standardize, Whiten


def built(layer, event=(3,)):
    layer.build((None, *event))
    return layer


# -- Standardize -----------------------------------------------------------------------------
def test_standardize_is_the_identity_until_it_is_set(rng):
    x = rng.normal(5.0, 2.0, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(Standardize())(x), x)


def test_standardize_takes_mean_and_deviation_out(rng):
    layer = built(Standardize(dtype="float64"))
    layer.set_moments(np.array([1.0, 2.0, 3.0]), np.array([4.0, 0.25, 9.0]))
    z = layer.bijector().inverse(tf.constant([[3.0, 2.5, 0.0]], tf.float64))
    np.testing.assert_allclose(z, [[1.0, 1.0, -1.0]])


def test_standardize_changes_log_prob_by_exactly_the_log_of_the_deviations(rng):
    variance = np.array([4.0, 0.25, 9.0])
    flow = Flow([], (3,), preprocessing=[Standardize(dtype="float64")], dtype="float64")
    x = rng.normal(size=(5, 3))
    before = flow.log_density(tf.constant(x)).numpy()
    flow.preprocessing[0].set_moments(np.zeros(3), variance)
    after = flow.log_density(tf.constant(x * np.sqrt(variance))).numpy()
    np.testing.assert_allclose(after, before - 0.5 * np.log(variance).sum(), rtol=1e-12)


def test_standardize_leaves_a_column_without_variance_alone():
    layer = built(Standardize())
    layer.set_moments(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(layer.log_std, np.zeros(3))


def test_standardize_is_not_trained():
    assert built(Standardize()).trainable_weights == []


# -- Whiten ----------------------------------------------------------------------------------
def thin_rows(rng, count, thickness=1e-3):
    """Four columns of other units; the last is the sum of two others, but for a little."""
    x = rng.normal(size=(count, 4))
    x[:, 3] = x[:, 0] + x[:, 1] + thickness * x[:, 3]
    return x * [1.0, 100.0, 1e-3, 1.0] + [0.0, 2000.0, 1.0, -5.0]


def whitened(x, dtype="float64"):
    layer = built(Whiten(dtype=dtype), x.shape[1:])
    layer.set_moments(x.mean(0), np.cov(x.T, bias=True))
    return layer


def test_whiten_is_the_identity_until_it_is_set(rng):
    x = rng.normal(5.0, 2.0, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(Whiten())(x), x)


def test_whiten_leaves_no_correlation(rng):
    x = thin_rows(rng, 1000)
    z = whitened(x)(tf.constant(x)).numpy()
    np.testing.assert_allclose(z.mean(0), np.zeros(4), atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(4), atol=1e-5)


def test_whiten_alone_is_the_full_gaussian(rng):
    x = thin_rows(rng, 1000, thickness=0.1) / [1.0, 100.0, 1e-3, 1.0]  # scipy wants like units
    flow = Flow([], (4,), preprocessing=[whitened(x)], dtype="float64")
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(flow.log_density(tf.constant(x[:50])), gaussian.logpdf(x[:50]), rtol=1e-5)


def test_whiten_in_float32_comes_back(rng):
    x = thin_rows(rng, 1000).astype(np.float32)
    layer = whitened(x.astype(np.float64), "float32")
    back = layer.bijector().forward(layer(x)).numpy()
    np.testing.assert_allclose((back - x) / x.std(0), np.zeros(x.shape), atol=2e-6)


def test_whiten_names_a_column_that_others_determine(rng):
    with pytest.raises(ValueError, match=r"Column 3 of x is a linear combination .*dequantize="):
        whitened(thin_rows(rng, 1000, thickness=0.0))


def test_whiten_takes_vectors_only():
    with pytest.raises(ValueError, match=r"vectors.*\(4, 4, 1\)"):
        built(Whiten(), (4, 4, 1))


@pytest.mark.parametrize(
    "check", [testing.check_saving, testing.check_saved_model, testing.check_onnx], ids=lambda c: c.__name__
)
def test_a_flow_that_whitens_keeps_its_promises_about_files(check):
    check(testing.make_flow("realnvp", (3,), dtype="float32", couplings=1, preprocessing="whiten"))


def test_whiten_is_not_trained():
    assert built(Whiten()).trainable_weights == []


# -- Dequantize ------------------------------------------------------------------------------
def whole_rows(rng, count=64, size=3, top=16):
    return tf.constant(rng.integers(0, top, (count, size)), tf.float32)


def test_dequantize_spreads_each_value_over_its_step(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    for seed in (None, tf.constant([1, 2])):
        np.testing.assert_array_equal(tf.floor(layer.noisy(x, seed)), x)


def test_the_noise_is_a_function_of_the_row(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    np.testing.assert_array_equal(layer.noisy(x), layer.noisy(x))
    shuffled = rng.permutation(64)
    np.testing.assert_array_equal(layer.noisy(tf.gather(x, shuffled)), tf.gather(layer.noisy(x), shuffled))
    np.testing.assert_array_equal(layer.noisy(x[5:6]), layer.noisy(x)[5:6])


def test_rows_that_differ_in_one_value_get_other_noise_everywhere():
    layer = built(Dequantize(1.0), (4,))
    x = tf.constant([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 3.0, 4.0]])
    noise = (layer.noisy(x) - x).numpy()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.any(noise[one] == noise[other])


def test_the_noise_of_rows_is_uniform_and_uncorrelated(rng):
    layer = built(Dequantize(1.0), (4,))
    x = tf.constant(rng.integers(0, 256, (20_000, 4)), tf.float32)
    noise = (tf.cast(layer.noisy(x), tf.float64) - tf.cast(x, tf.float64)).numpy()
    assert noise.min() >= 0.0
    counts = np.histogram(noise, bins=32, range=(0, 1))[0]
    expected = noise.size / 32
    # Chi-square with 31 degrees of freedom: 61 is its 99.9 % quantile.
    assert np.sum((counts - expected) ** 2 / expected) < 61
    correlation = np.corrcoef(np.concatenate([noise, x], axis=1).T)
    np.testing.assert_allclose(correlation, np.eye(8), atol=4 / np.sqrt(20_000))


def test_training_noise_is_new_with_each_seed(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    one, same, other = (layer.noisy(x, tf.constant([0, step])) for step in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.any(one.numpy() == other.numpy())
    assert not np.any(one.numpy() == layer.noisy(x).numpy())


def test_equal_rows_get_different_training_noise():
    noisy = built(Dequantize(1.0)).noisy(tf.ones([2, 3]), tf.constant([0, 1])).numpy()
    assert not np.any(noisy[0] == noisy[1])


def test_continuous_columns_are_left_alone(rng):
    layer = built(Dequantize([1.0, 0.0, 0.25]))
    x = tf.constant([[3.0, 0.123, 0.75], [4.0, -7.5, 1.25]])
    for seed in (None, tf.constant([1, 2])):
        noisy = layer.noisy(x, seed).numpy()
        np.testing.assert_array_equal(noisy[:, 1], x[:, 1])
        np.testing.assert_array_equal(np.floor(noisy[:, 0]), x[:, 0])
        np.testing.assert_array_equal(np.floor(noisy[:, 2] / 0.25) * 0.25, x[:, 2])
        assert not np.any(noisy[:, [0, 2]] == x.numpy()[:, [0, 2]])


@pytest.mark.parametrize("width", [0.01, 0.1, 0.05])
def test_steps_that_binary_floats_cannot_hold_are_found_again(width):
    index = np.arange(2000)
    x = tf.constant(index * width, tf.float32)[:, None]
    noisy = built(Dequantize(width), (1,)).noisy(x).numpy()[:, 0].astype(np.float64)
    np.testing.assert_array_equal(np.floor(noisy / width + 1e-4), index)


def test_dequantize_is_the_identity_as_a_bijector(rng):
    bijector, x = built(Dequantize(1.0)).bijector(), whole_rows(rng)
    z, log_det = bijector.inverse_and_log_det(x)
    np.testing.assert_array_equal(z, x)
    assert float(log_det) == 0.0


def test_dequantize_refuses_bad_widths():
    with pytest.raises(ValueError, match=r"finite step >= 0.*got -1"):
        Dequantize(-1.0)
    with pytest.raises(ValueError, match="finite step >= 0"):
        Dequantize([1.0, np.nan])
    with pytest.raises(ValueError, match=r"does not fit event shape \(3,\)"):
        built(Dequantize([1.0, 2.0]))


def test_dequantize_comes_first():
    with pytest.raises(ValueError, match="only be the first preprocessing layer"):
        Flow([], (3,), preprocessing=[Standardize(), Dequantize()])
    with pytest.raises(ValueError, match="only be the first preprocessing layer"):
        Flow([Dequantize()], (3,))


# -- densities in raw units ------------------------------------------------------------------
def test_the_mass_of_whole_numbers_sums_to_one():
    """Under `Dequantize` exp(log_prob) of a value stands for the mass of its step: steps sum to 1."""
    flow = Flow([], (1,), preprocessing=[Dequantize(1.0), Standardize()])
    flow.preprocessing[1].set_moments(np.array([10.0]), np.array([9.0]))
    values = tf.range(-20.0, 40.0)[:, None]
    mass = np.exp(flow.log_density(values).numpy())
    # One point a step instead of its integral: right to the noise of where the points fall.
    assert mass.sum() == pytest.approx(1.0, abs=0.1)


def test_pixels_have_a_density_that_integrates_to_one_in_pixel_units():
    flow = Flow([], (2,), preprocessing=[Logit(dtype="float64")], dtype="float64")
    edges = np.linspace(0.0, 256.0, 2001)
    middles = (edges[:-1] + edges[1:]) / 2
    points = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    density = np.exp(flow.log_density(tf.constant(points)).numpy())
    assert density.sum() * (256.0 / 2000) ** 2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("arguments", [(1.0, 1.0, 0.1), (0.0, 1.0, 0.0), (0.0, 1.0, 0.5)])
def test_logit_refuses_an_empty_interval_or_margin(arguments):
    with pytest.raises(ValueError, match="low < high and 0 < margin"):
        Logit(*arguments)
