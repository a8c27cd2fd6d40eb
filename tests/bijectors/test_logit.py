import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Logit
from flowzoo.testing import check_bijector

tfb = tfp.bijectors


def oracle(low, high, margin):
    to_unit = [tfb.Scale(np.float64(1 / (1 - 2 * margin))), tfb.Shift(np.float64(-margin)), tfb.Sigmoid()]
    return tfb.Chain([tfb.Shift(np.float64(low)), tfb.Scale(np.float64(high - low)), *to_unit])


@pytest.mark.parametrize(("low", "high", "margin"), [(0, 256, 1e-6), (0, 1, 0.05), (-3, 5, 0.01)])
def test_it_is_a_chain_of_tfps(assert_like_oracle, rng, low, high, margin):
    bijector = Logit(low, high, margin, (3,), dtype=tf.float64)
    assert_like_oracle(bijector, oracle(low, high, margin), rng.uniform(-2.5, 2.5, size=(20, 3)))


def test_it_keeps_its_promises(rng):
    check_bijector(Logit(0, 256, 1e-6, (2, 2, 1), dtype=tf.float64), rng.normal(size=(4, 2, 2, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ends_are_finite_and_come_back(dtype):
    bijector = Logit(0.0, 256.0, 1e-6, (1,), dtype=dtype)
    ends = tf.constant([[0.0], [256.0]], dtype)
    z, log_det = bijector.inverse_and_log_det(ends)
    assert np.isfinite(z).all()
    assert np.isfinite(log_det).all()
    np.testing.assert_allclose(bijector.forward(z), ends, atol=1e-3)
    np.testing.assert_allclose(z[0], -z[1], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_outside_the_interval_count_as_its_ends(dtype):
    bijector = Logit(0.0, 256.0, 1e-6, (1,), dtype=dtype)
    outside, ends = tf.constant([[-5.0], [300.0]], dtype), tf.constant([[0.0], [256.0]], dtype)
    np.testing.assert_array_equal(bijector.inverse(outside), bijector.inverse(ends))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_latents_stay_whole_pixels_when_floored(dtype):
    bijector = Logit(0.0, 256.0, 1e-6, (1,), dtype=dtype)
    x = bijector.forward(tf.constant([[-50.0], [50.0]], dtype)).numpy()
    assert np.floor(x).ravel().tolist() == [0.0, 255.0]


def test_float32_keeps_the_digits_at_both_ends(rng):
    x = np.concatenate([rng.uniform(0, 1, 50), rng.uniform(255, 256, 50)]).astype(np.float32)[:, None]
    single = Logit(0.0, 256.0, 1e-6, (1,)).inverse_and_log_det(x)
    double = Logit(0.0, 256.0, 1e-6, (1,), dtype="float64").inverse_and_log_det(x.astype(np.float64))
    np.testing.assert_allclose(single[0], double[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(single[1], double[1], rtol=0, atol=1e-3)
