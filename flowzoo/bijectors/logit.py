"""Logit: data in an interval to the real line (Papamakarios et al. 2017, appendix on images)."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


class Logit(FusedBijector):
    """Maps data in ``[low, high]`` to the real line: ``z = logit(p)`` with p in ``[margin, 1 - margin]``.

    ``p = margin + (1 - 2 margin) (x - low) / (high - low)``.

    The margin keeps the latents of both ends finite. Data outside the interval are clipped to it, so that a
    density is never NaN; callers check the range.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.
        margin: Margin in (0, 0.5): 1e-6 suits images with a black background, Dinh et al. 2017 use 0.05.
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Logit
        >>> logit = Logit(0.0, 256.0, 0.05, (1,))
        >>> logit.inverse([[128.0]]).numpy().tolist()
        [[0.0]]
    """

    def __init__(
        self,
        low: float,
        high: float,
        margin: float,
        event_shape: Shape,
        *,
        dtype=tf.float32,
        name=None,
    ):
        self._low, self._high, self._margin = low, high, margin
        # log dp/dx, the constant part of the log-det of each element.
        self._log_slope = math.log((1 - 2 * margin) / (high - low))
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        unit = (tf.sigmoid(z) - self._margin) / (1 - 2 * self._margin)
        # Latents beyond the margin land outside the interval and are clipped to its nearest end. The upper
        # end stays below `high`, so that the floor of a pixel is 255 and never 256.
        top = 1.0 - np.finfo(self.dtype.as_numpy_dtype).epsneg
        x = self._low + (self._high - self._low) * tf.clip_by_value(unit, 0.0, top)
        return x, -self._log_det(z)

    def _inverse_and_log_det(self, x):
        unit = tf.clip_by_value((x - self._low) / (self._high - self._low), 0.0, 1.0)
        p = self._margin + (1 - 2 * self._margin) * unit
        # 1 - p, computed from the other end: it keeps its float32 digits when p is near 1.
        q = self._margin + (1 - 2 * self._margin) * (1 - unit)
        z = tf.math.log(p) - tf.math.log(q)
        return z, self._log_det(z)

    def _log_det(self, z):
        """log|dz/dx| summed over the event: dz/dp = 1 / (p (1 - p)), with p = sigmoid(z)."""
        axes = list(range(-len(self.data_shape), 0))
        return tf.reduce_sum(tf.nn.softplus(z) + tf.nn.softplus(-z) + self._log_slope, axis=axes)
