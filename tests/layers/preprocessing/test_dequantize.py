import numpy as np
import pytest
import tensorflow as tf

from flowzoo import Flow
from flowzoo.layers import Dequantize, Standardize


def built(layer, event=(3,)):
    layer.build((None, *event))
    return layer


def whole_rows(rng, count=64, size=3, top=16):
    return tf.constant(rng.integers(0, top, (count, size)), tf.float32)


def test_dequantize_spreads_each_value_over_its_step(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    for seed in (None, tf.constant([1, 2])):
        np.testing.assert_array_equal(tf.floor(layer.dequantize(x, seed)), x)


def test_the_noise_is_a_function_of_the_row(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    np.testing.assert_array_equal(layer.dequantize(x), layer.dequantize(x))
    shuffled = rng.permutation(64)
    np.testing.assert_array_equal(
        layer.dequantize(tf.gather(x, shuffled)), tf.gather(layer.dequantize(x), shuffled)
    )
    np.testing.assert_array_equal(layer.dequantize(x[5:6]), layer.dequantize(x)[5:6])


def test_rows_that_differ_in_one_value_get_other_noise_everywhere():
    layer = built(Dequantize(1.0), (4,))
    x = tf.constant([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 3.0, 4.0]])
    noise = (layer.dequantize(x) - x).numpy()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.any(noise[one] == noise[other])


def test_the_noise_of_rows_is_uniform_and_uncorrelated(rng):
    layer = built(Dequantize(1.0), (4,))
    x = tf.constant(rng.integers(0, 256, (20_000, 4)), tf.float32)
    noise = (tf.cast(layer.dequantize(x), tf.float64) - tf.cast(x, tf.float64)).numpy()
    assert noise.min() >= 0.0
    counts = np.histogram(noise, bins=32, range=(0, 1))[0]
    expected = noise.size / 32
    # Chi-square with 31 degrees of freedom: 61 is its 99.9 % quantile.
    assert np.sum((counts - expected) ** 2 / expected) < 61
    correlation = np.corrcoef(np.concatenate([noise, x], axis=1).T)
    np.testing.assert_allclose(correlation, np.eye(8), atol=4 / np.sqrt(20_000))


def test_training_noise_is_new_with_each_seed(rng):
    layer, x = built(Dequantize(1.0)), whole_rows(rng)
    one, same, other = (layer.dequantize(x, tf.constant([0, step])) for step in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.any(one.numpy() == other.numpy())
    assert not np.any(one.numpy() == layer.dequantize(x).numpy())


def test_equal_rows_get_different_training_noise():
    noisy = built(Dequantize(1.0)).dequantize(tf.ones([2, 3]), tf.constant([0, 1])).numpy()
    assert not np.any(noisy[0] == noisy[1])


def test_continuous_columns_are_unchanged(rng):
    layer = built(Dequantize([1.0, 0.0, 0.25]))
    x = tf.constant([[3.0, 0.123, 0.75], [4.0, -7.5, 1.25]])
    for seed in (None, tf.constant([1, 2])):
        noisy = layer.dequantize(x, seed).numpy()
        np.testing.assert_array_equal(noisy[:, 1], x[:, 1])
        np.testing.assert_array_equal(np.floor(noisy[:, 0]), x[:, 0])
        np.testing.assert_array_equal(np.floor(noisy[:, 2] / 0.25) * 0.25, x[:, 2])
        assert not np.any(noisy[:, [0, 2]] == x.numpy()[:, [0, 2]])


@pytest.mark.parametrize("width", [0.01, 0.1, 0.05])
def test_steps_that_binary_floats_cannot_represent_are_recovered(width):
    index = np.arange(2000)
    x = tf.constant(index * width, tf.float32)[:, None]
    noisy = built(Dequantize(width), (1,)).dequantize(x).numpy()[:, 0].astype(np.float64)
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


def test_the_mass_of_whole_numbers_sums_to_one():
    """With `Dequantize`, exp(log_prob) of a value estimates the mass of its step; these sum to 1."""
    flow = Flow([], (1,), preprocessing=[Dequantize(1.0), Standardize()])
    flow.preprocessing[1].set_moments(np.array([10.0]), np.array([9.0]))
    values = tf.range(-20.0, 40.0)[:, None]
    mass = np.exp(flow.density.log_density(values).numpy())
    # One point per step instead of its integral: exact up to the noise of the points.
    assert mass.sum() == pytest.approx(1.0, abs=0.1)
