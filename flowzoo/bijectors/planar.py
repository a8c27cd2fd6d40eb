"""Planar: shifts along one direction by a tanh of another (Rezende and Mohamed 2015, equation 10)."""

from __future__ import annotations

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector
from flowzoo.bijectors.root_search import increasing_root

CLOSED = ("inverse", "forward")

# Lower bound of the slope of a step across its plane, so that the other direction keeps its digits.
MIN_SLOPE = 1e-2

# Newton steps that solve slopes up to 1e4 to the last digits of float64; steeper ones would need more.
_ITERATIONS = 11


class Planar(FusedBijector):
    """K steps ``y = x + u' tanh(w.x + b)``, one after the other, the first one nearest to the data.

    A step is invertible if ``w.u' > -1``. So u' is computed from an unconstrained u, as in appendix A.1 of
    the paper but by another function, see `invertible`. One direction of the flow is this formula. The other
    solves a scalar equation for each step and row: given y, ``s = w.x + b`` is the root of
    ``s + (w.u') tanh(s) = w.y + b``. The left side is odd and increasing, and either convex or concave on
    each side of 0, so `increasing_root` converges.

    Args:
        w: ``[..., K, D]``; leading dimensions broadcast against those of the rows.
        u: ``[..., K, D]``.
        b: ``[..., K]``.
        closed: The direction that the formula computes: "inverse" (data to latent: densities of data are
            cheap) or "forward" (latent to data: samples and their densities are cheap, for variational
            inference).
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Planar
        >>> planar = Planar([[1.0, 0.0]], [[2.0, 1.0]], [0.0])
        >>> z, log_det = planar.inverse_and_log_det([[0.0, 5.0]])
        >>> z.numpy().tolist(), round(float(log_det[0]), 3)
        ([[0.0, 5.0]], 1.445)
    """

    def __init__(self, w, u, b, *, closed: str = "inverse", dtype=tf.float32, name: str | None = None):
        w, u, b = (tf.convert_to_tensor(value, dtype) for value in (w, u, b))
        u, slope = invertible(w, u)
        per_step = [tf.unstack(value, axis=-2) for value in (w, u, b[..., None], slope)]
        self._steps = list(zip(*per_step, strict=True))
        self._closed = closed
        super().__init__(w.shape[-1:], w.shape[-1:], dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._through(reversed(self._steps), z, solve=self._closed == "inverse")

    def _inverse_and_log_det(self, x):
        return self._through(self._steps, x, solve=self._closed == "forward")

    def _through(self, steps, values, solve):
        log_det = tf.zeros([], self.dtype)
        for w, u, b, slope in steps:
            s = tf.reduce_sum(values * w, axis=-1, keepdims=True) + b
            if solve:
                s = _solve(s, slope)
            height = tf.tanh(s)
            part = tf.math.log(1.0 + slope * (1.0 - height * height))
            values, log_det = (
                (values - u * height, log_det - part) if solve else (values + u * height, log_det + part)
            )
        return values, log_det[..., 0]


def invertible(w: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes ``u' = u + (m(w.u) - w.u) w / |w|^2``, for which w.u' is above -1, and w.u'.

    The paper's ``m(p) = -1 + log(1 + exp(p))`` moves u = 0 away from 0, and further the smaller w is. Here
    ``m(p) = p + p^2 / (c + sqrt(c^2 + p^2))`` is smooth, increasing and above ``-c = MIN_SLOPE - 1``, with
    m(0) = 0 and slope 1 there. So u = 0 gives the identity, and w = 0 is not a singularity.

    Args:
        w: ``[..., D]``.
        u: ``[..., D]``.

    Returns:
        u' ``[..., D]`` and w.u' ``[..., 1]``.
    """
    bound = 1.0 - MIN_SLOPE
    p = tf.reduce_sum(w * u, axis=-1, keepdims=True)
    length = tf.maximum(tf.reduce_sum(w * w, axis=-1, keepdims=True), 1e-30)
    u = u + w * (p * (p / length) / (bound + tf.sqrt(bound**2 + p * p)))
    # Computed from u', so that both directions compute the same map; bounded again because of rounding.
    return u, tf.maximum(tf.reduce_sum(w * u, axis=-1, keepdims=True), -bound)


def _solve(t, slope):
    """The root s of ``s + slope * tanh(s) = t``."""

    def equation(s):
        height = tf.tanh(s)
        return s + slope * height - t, 1.0 + slope * (1.0 - height * height)

    # For t > 0 the root is positive, where tanh(s) < s and tanh(s) < 1. Each inequality bounds the root: from
    # below where slope > 0 and the equation is concave, from above where slope < 0 and it is convex.
    far = tf.abs(t)
    by_line, by_one = far / (1.0 + slope), far - slope
    start = tf.where(slope > 0.0, tf.maximum(by_line, by_one), tf.minimum(by_line, by_one))
    return increasing_root(equation, tf.sign(t) * start, _ITERATIONS)
