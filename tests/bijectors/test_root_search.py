import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors.root_search import increasing_root


def cubic(p, a=1.0):
    """``a x + x^3 = p``; convex for x > 0, where p / a lies right of the root."""

    def equation(x):
        return a * x + x**3 - p, a + 3 * x**2

    return equation


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_roots_are_right_to_the_last_digits(dtype, tolerance):
    wanted = np.concatenate([[0.0], np.logspace(-6, 1, 50)])
    p = tf.constant(wanted + wanted**3, dtype)
    x = increasing_root(cubic(p), p, iterations=25)
    np.testing.assert_allclose(x, wanted, rtol=tolerance, atol=tolerance)


def test_the_gradient_is_the_implicit_function_theorems():
    p, a = tf.constant([0.5, 2.0, 30.0], tf.float64), tf.constant([1.0, 0.3, 5.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([p, a])
        x = increasing_root(cubic(p, a), p / a, iterations=25)
    by_p, by_a = tape.gradient(x, [p, a])
    slope = a + 3 * x**2
    np.testing.assert_allclose(by_p, 1 / slope, rtol=1e-12)
    np.testing.assert_allclose(by_a, -x / slope, rtol=1e-12)


def test_a_root_does_not_depend_on_its_neighbours():
    p = tf.constant([2.0, np.nan, 1e30, -np.inf])
    among = increasing_root(cubic(p), p, iterations=10)
    alone = increasing_root(cubic(p[:1]), p[:1], iterations=10)
    assert float(among[0]) == float(alone[0])
    assert np.isnan(among[1])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_number_of_steps_is_the_only_loop_condition(jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None], tf.float32)])
    def function(p):
        return increasing_root(cubic(p), p, iterations=3)

    x = tf.constant([5.0])
    wanted = x
    for _ in range(4):
        wanted = wanted - (wanted + wanted**3 - x) / (1 + 3 * wanted**2)
    np.testing.assert_allclose(function(x), wanted, rtol=1e-6)
    assert function(tf.zeros([0])).shape == (0,)
