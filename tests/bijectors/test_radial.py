import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from flowzoo.bijectors import Radial
from flowzoo.bijectors.planar import CLOSED, MIN_SLOPE
from flowzoo.testing import check_bijector


def parameters(rng, steps, size, scale=1.0):
    return [rng.normal(size=(steps, size)), *(scale * rng.normal(size=(steps,)) for _ in range(2))]


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("steps", "size"), [(1, 1), (5, 2), (3, 7)])
def test_it_keeps_its_promises(rng, closed, steps, size):
    radial = Radial(*parameters(rng, steps, size, 3.0), closed=closed, dtype=tf.float64)
    check_bijector(radial, 2.0 * rng.normal(size=(20, size)))


@pytest.mark.parametrize("closed", CLOSED)
def test_one_step_is_the_papers_formula(rng, closed):
    center, alpha, beta = parameters(rng, 1, 3)
    radial = Radial(center, alpha, beta, closed=closed, dtype=tf.float64)
    x = rng.normal(size=(4, 3))
    formula = radial.inverse if closed == "inverse" else radial.forward
    positive = np.log1p(np.exp(alpha))
    bound = 1 - MIN_SLOPE
    m = np.log1p(np.exp(beta + np.log(np.expm1(bound)))) - bound
    r = np.linalg.norm(x - center, axis=1, keepdims=True)
    np.testing.assert_allclose(
        formula(x), x + positive * m * (x - center) / (positive + r), rtol=1e-12, atol=1e-12
    )


def test_beta_0_is_the_identity(rng):
    center, alpha, beta = parameters(rng, 4, 3)
    x = rng.normal(size=(5, 3))
    z, log_det = Radial(center, alpha, 0 * beta, dtype=tf.float64).inverse_and_log_det(x)
    np.testing.assert_allclose(z, x, atol=1e-15)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-15)


def test_the_first_step_is_the_nearest_to_the_data(rng):
    weights = parameters(rng, 2, 3)
    first, second = (Radial(*(w[i : i + 1] for w in weights), dtype=tf.float64) for i in (0, 1))
    x = rng.normal(size=(4, 3))
    both = Radial(*weights, dtype=tf.float64)
    np.testing.assert_allclose(both.inverse(x), second.inverse(first.inverse(x)), rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.floats(-6, 6),
    st.sampled_from(["float32", "float64"]),
)
def test_any_weights_are_invertible(alpha, beta, log_radius, dtype):
    # Around 0, where floats are dense: elsewhere a small radius has too few digits.
    radial = Radial([[0.0, 0.0]], [alpha], [beta], dtype=dtype)
    x = tf.constant([[0.0, 10**log_radius], [0.0, 0.0]], dtype)
    z, log_det = radial.inverse_and_log_det(x)
    back, back_log_det = radial.forward_and_log_det(z)
    for tensor in (z, log_det, back, back_log_det):
        assert np.isfinite(tensor).all()
    digits = 1e3 * np.finfo(dtype).eps
    np.testing.assert_allclose(back, x, rtol=digits)
    np.testing.assert_allclose(log_det, -back_log_det, rtol=digits, atol=digits)


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_inputs_centres_and_large_weights_stay_finite(rng, closed, dtype):
    for scale in (0.0, 1.0, 1e3):
        weights = [tf.constant(value, dtype) for value in parameters(rng, 4, 3, scale)]
        values = rng.normal(size=(30, 3)) * np.repeat([0.0, 1.0, 1e6], 10)[:, None]
        values[:4] = weights[0]
        values = tf.constant(values, dtype)
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            with tf.GradientTape() as tape:
                tape.watch([values, *weights])
                pair = getattr(Radial(*weights, closed=closed, dtype=dtype), method)(values)
            for tensor in (*pair, *tape.gradient(pair, [values, *weights])):
                assert np.isfinite(tensor).all(), (scale, method)


@pytest.mark.parametrize("closed", CLOSED)
def test_the_gradient_at_a_centre_is_that_of_its_neighbourhood(closed):
    radial = Radial([[1.0, 2.0]], [0.3], [1.5], closed=closed, dtype=tf.float64)
    for method in (radial.forward, radial.inverse):
        at = tf.constant([[1.0, 2.0], [1.0 + 1e-9, 2.0]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(at)
            x = tf.reduce_sum(method(at), axis=0)
        jacobian = tape.jacobian(x, at)
        np.testing.assert_allclose(jacobian[:, 0], jacobian[:, 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("closed", CLOSED)
def test_float32_round_trip_of_ten_steps(rng, closed):
    radial = Radial(*parameters(rng, 10, 5), closed=closed)
    z = rng.normal(size=(2000, 5)).astype(np.float32)
    np.testing.assert_allclose(radial.inverse(radial.forward(z)), z, atol=1e-4)


def test_rows_may_have_their_own_parameters(rng):
    weights = [np.stack([value, 2 * value]) for value in parameters(rng, 3, 2)]
    z = rng.normal(size=(4, 2, 2))
    x, log_det = Radial(*weights, dtype=tf.float64).forward_and_log_det(z)
    assert (x.shape, log_det.shape) == ((4, 2, 2), (4, 2))
    for row in (0, 1):
        alone = Radial(*(value[row] for value in weights), dtype=tf.float64).forward_and_log_det(z[:, row])
        np.testing.assert_allclose(x[:, row], alone[0], rtol=1e-12)
        np.testing.assert_allclose(log_det[:, row], alone[1], rtol=1e-12, atol=1e-12)
