"""Roots of increasing scalar equations by Newton's method, with the implicit function theorem's gradient."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# value and slope of an increasing function, elementwise
Equation = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def increasing_root(equation: Equation, start: tf.Tensor, iterations: int) -> tf.Tensor:
    """Finds where an increasing function is zero, elementwise and differentiably.

    Newton's method needs no safeguard where it is monotone: from a start right of the root of a convex
    function, or left of the root of a concave one, each iterate lies between the previous one and the
    root (Fourier's condition). So the caller gives a bound of the root on that side. The number of iterations
    is fixed: a row's root does not depend on other rows, and the loop suits XLA and ONNX.

    The last step is taken outside the loop, with its start and slope held constant. So its derivative is
    ``-(df/dp) / (df/dx)`` at the root, as in the implicit function theorem, for every parameter p of the
    equation. Only first derivatives are correct; a second derivative through the root would be wrong.

    Args:
        equation: Function that returns value and slope at x; the root is differentiable by its parameters.
        start: A bound of each root, on the side where the function is convex and positive, or concave
            and negative, all the way to the root.
        iterations: Newton steps in the loop; one more follows.

    Returns:
        The roots, of the shape of `start`.

    Source: Ostrowski, "Solution of Equations and Systems of Equations" (1966), on Fourier's conditions.

    Example:
        >>> import tensorflow as tf
        >>> square = tf.constant([4.0, 9.0])
        >>> increasing_root(lambda x: (x * x - square, 2.0 * x), start=square, iterations=6).numpy()
        array([2., 3.], dtype=float32)
    """

    def step(x):
        value, slope = equation(x)
        return (x - value / slope,)

    (root,) = tf.while_loop(lambda _: True, step, (start,), maximum_iterations=iterations)
    root = tf.stop_gradient(root)
    value, slope = equation(root)
    return root - value / tf.stop_gradient(slope)
