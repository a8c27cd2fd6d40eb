import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from flowzoo.bijectors import Planar
from flowzoo.bijectors.planar import CLOSED, MIN_SLOPE, _solve, invertible
from flowzoo.testing import check_bijector

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def parameters(rng, steps, size, scale=1.0):
    return [rng.normal(size=shape) * scale for shape in ((steps, size), (steps, size), (steps,))]


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("steps", "size"), [(1, 1), (5, 2), (3, 7)])
def test_it_keeps_its_promises(rng, closed, steps, size):
    planar = Planar(*parameters(rng, steps, size, 1.5), closed=closed, dtype=tf.float64)
    check_bijector(planar, 2.0 * rng.normal(size=(20, size)))


@pytest.mark.parametrize("closed", CLOSED)
def test_one_step_is_the_papers_formula(rng, closed):
    w, u, b = parameters(rng, 1, 3)
    planar = Planar(w, u, b, closed=closed, dtype=tf.float64)
    x = rng.normal(size=(4, 3))
    formula = planar.inverse if closed == "inverse" else planar.forward
    u = invertible(tf.constant(w), tf.constant(u))[0].numpy()
    np.testing.assert_allclose(formula(x), x + np.tanh(x @ w.T + b) * u, rtol=1e-12)


def test_the_first_step_is_the_nearest_to_the_data(rng):
    w, u, b = parameters(rng, 2, 3)
    first, second = (Planar(w[i : i + 1], u[i : i + 1], b[i : i + 1], dtype=tf.float64) for i in (0, 1))
    x = rng.normal(size=(4, 3))
    both = Planar(w, u, b, dtype=tf.float64)
    np.testing.assert_allclose(both.inverse(x), second.inverse(first.inverse(x)), rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3),
    st.sampled_from(["float32", "float64"]),
)
def test_any_weights_are_invertible(w, u, dtype):
    changed, slope = invertible(tf.constant([w], dtype), tf.constant([u], dtype))
    assert np.isfinite(changed).all()
    assert float(slope[0, 0]) >= MIN_SLOPE - 1 - 1e-6
    # The w.u' of the log-det equals w.u' up to rounding.
    product = float(np.sum(np.float64(w) * changed[0].numpy()))
    size = np.linalg.norm(w) * np.linalg.norm(u)
    assert abs(product - float(slope[0, 0])) <= (1e-5 if dtype == "float32" else 1e-12) * max(1.0, size)


def test_u_is_unchanged_where_it_is_small_with_finite_gradients_at_0():
    u = tf.constant([[1e-4, -2e-4], [0.0, 0.0], [1.0, 1.0]])
    w = tf.constant([[1.0, 1.0], [1.0, -3.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch([w, u])
        changed, _ = invertible(w, u)
    np.testing.assert_allclose(changed, u, atol=1e-7)
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(changed, [w, u]))


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-12, 12),
    st.floats(np.log(MIN_SLOPE), np.log(1e4)),
    st.sampled_from(["float32", "float64"]),
)
def test_the_root_is_found_for_every_slope(log_root, log_slope, dtype):
    root = np.sign(log_root) * (np.exp(abs(log_root)) - 1)
    slope = np.array([np.exp(log_slope) - 1], dtype)
    t = np.asarray(root + slope * np.tanh(root), dtype)
    got = _solve(tf.constant(t), tf.constant(slope)).numpy().astype(np.float64)
    # The change of the root from rounding t alone.
    steepness = 1 + slope * (1 - np.tanh(root) ** 2)
    unsure = np.finfo(dtype).eps * max(abs(t[0]), abs(slope[0])) / steepness
    assert abs(got - root) <= TOLERANCE[dtype] * max(1.0, abs(root)) + 4 * unsure


@pytest.mark.parametrize("closed", CLOSED)
def test_gradients_in_both_directions_equal_finite_differences(rng, closed):
    weights = [tf.constant(value) for value in parameters(rng, 3, 2)]
    values, v = tf.constant(rng.normal(size=(5, 2))), rng.normal(size=(5, 2))

    def loss(method, values, *weights):
        bijector = Planar(*weights, closed=closed, dtype=tf.float64)
        result, log_det = getattr(bijector, method)(values)
        return tf.reduce_sum(result * v) + tf.reduce_sum(log_det * v[:, 0])

    arguments = [values, *weights]
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            result = loss(method, *arguments)
        for i, gradient in enumerate(tape.gradient(result, arguments)):
            direction = tf.constant(rng.normal(size=arguments[i].shape))
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a + step * direction if j == i else a for j, a in enumerate(arguments)]
                ends.append(float(loss(method, *moved)))
            wanted = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(float(tf.reduce_sum(gradient * direction)), wanted, rtol=1e-6)


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_inputs_and_large_weights_stay_finite(rng, closed, dtype):
    for scale in (0.0, 1e-20, 1.0, 1e3):
        weights = [tf.constant(value, dtype) for value in parameters(rng, 4, 3, scale)]
        values = tf.constant(rng.normal(size=(30, 3)) * np.repeat([0.0, 1.0, 1e6], 10)[:, None], dtype)
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            with tf.GradientTape() as tape:
                tape.watch([values, *weights])
                pair = getattr(Planar(*weights, closed=closed, dtype=dtype), method)(values)
            for tensor in (*pair, *tape.gradient(pair, [values, *weights])):
                assert np.isfinite(tensor).all(), (scale, method)


@pytest.mark.parametrize("closed", CLOSED)
def test_float32_round_trip_of_ten_steps(rng, closed):
    planar = Planar(*parameters(rng, 10, 5, 0.7), closed=closed)
    z = rng.normal(size=(2000, 5)).astype(np.float32)
    np.testing.assert_allclose(planar.inverse(planar.forward(z)), z, atol=1e-4)


def test_rows_may_have_their_own_parameters(rng):
    w, u, b = (np.stack([value, 2 * value]) for value in parameters(rng, 3, 2))
    z = rng.normal(size=(4, 2, 2))
    x, log_det = Planar(w, u, b, dtype=tf.float64).forward_and_log_det(z)
    assert (x.shape, log_det.shape) == ((4, 2, 2), (4, 2))
    for row in (0, 1):
        alone = Planar(w[row], u[row], b[row], dtype=tf.float64).forward_and_log_det(z[:, row])
        np.testing.assert_allclose(x[:, row], alone[0], rtol=1e-12)
        np.testing.assert_allclose(log_det[:, row], alone[1], rtol=1e-12, atol=1e-12)
