"""Radial: moves rows away from a centre or towards it (Rezende and Mohamed 2015, equation 14)."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from flowzoo.backend import xla
from flowzoo.bijectors.base import FusedBijector
from flowzoo.bijectors.planar import MIN_SLOPE


class Radial(FusedBijector):
    """K steps ``y = x + beta' (x - center) / (alpha' + |x - center|)``, the first one nearest to the data.

    A step is invertible if ``beta' > -alpha'`` (appendix A.2 of the paper). So alpha' is
    ``softplus(alpha)`` and beta' is ``alpha' m`` with ``m = softplus(beta + offset) - c`` above
    ``-c = MIN_SLOPE - 1``; the offset makes beta = 0 the identity. With ``r = |x - center|`` and
    ``q = alpha' / (alpha' + r)`` the log-det is ``(D - 1) log(1 + m q) + log(1 + m q^2)``.

    The other direction, which the paper leaves to numerical search, has a closed form: given the radius R
    after a step, r is the positive root of ``r^2 - (R - alpha' (1 + m)) r - alpha' R = 0``.

    Args:
        center: ``[..., K, D]``; leading dimensions broadcast against those of the rows.
        alpha: ``[..., K]``, unconstrained.
        beta: ``[..., K]``, unconstrained.
        closed: The direction that the formula of the first line computes: "inverse" (data to latent) or
            "forward".
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Radial
        >>> radial = Radial([[0.0, 0.0]], alpha=[0.0], beta=[2.0])
        >>> z = radial.inverse([[0.0, 0.0], [0.0, 1.0], [0.0, 100.0]])
        >>> z[:, 1].numpy().tolist()
        [0.0, 1.66, 101.11]
    """

    def __init__(
        self, center, alpha, beta, *, closed: str = "inverse", dtype=tf.float32, name: str | None = None
    ):
        center, alpha, beta = (tf.convert_to_tensor(value, dtype) for value in (center, alpha, beta))
        bound = 1.0 - MIN_SLOPE
        alpha = tf.nn.softplus(alpha)
        m = tf.nn.softplus(beta + math.log(math.expm1(bound))) - bound
        per_step = [tf.unstack(value, axis=-2) for value in (center, alpha[..., None], m[..., None])]
        self._steps = list(zip(*per_step, strict=True))
        self._closed = closed
        super().__init__(center.shape[-1:], center.shape[-1:], dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._through(reversed(self._steps), z, solve=self._closed == "inverse")

    def _inverse_and_log_det(self, x):
        return self._through(self._steps, x, solve=self._closed == "forward")

    def _through(self, steps, values, solve):
        around = self.data_shape[0] - 1.0
        # The square root has no derivative at the centre, and the map does not need one there.
        least = float(np.finfo(self.dtype.as_numpy_dtype).tiny ** 0.8)
        log_det = tf.zeros([], self.dtype)
        for center, alpha, m in steps:
            away = values - center
            r = tf.sqrt(tf.maximum(_sum_of_columns(away * away), least))
            if solve:
                r = _radius_before(r, alpha, m)
            q = alpha / (alpha + r)
            stretch = m * q
            part = around * tf.math.log(1.0 + stretch) + tf.math.log(1.0 + stretch * q)
            if solve:
                values, log_det = center + away / (1.0 + stretch), log_det - part
            else:
                values, log_det = values + away * stretch, log_det + part
        return values, log_det[..., 0]


def _sum_of_columns(x):
    """``[..., D]`` summed to ``[..., 1]``.

    XLA on a CPU fuses a plain sum with everything before it, so that each step recomputes the steps before
    it. It does not fuse a product with ones. On a GPU a product may round its factors (TensorFloat-32), and
    without XLA a product is not faster.
    """
    if xla.on_gpu() or not xla.is_compiling():
        return tf.reduce_sum(x, axis=-1, keepdims=True)
    return tf.tensordot(x, tf.ones([x.shape[-1], 1], x.dtype), 1)


def _radius_before(r, alpha, m):
    """The radius that a step maps to r; each branch adds numbers where the other would cancel digits."""
    b = r - alpha * (1.0 + m)
    root = tf.sqrt(b * b + 4.0 * alpha * r)
    half = 0.5 * (tf.where(b < 0.0, -b, b) + root)
    return tf.where(b < 0.0, alpha * r / half, half)
