"""Sigmoid: the real line (data side) to the unit interval (latent side)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


class Sigmoid(FusedBijector):
    """``z = sigmoid(x)``: latents in (0, 1), data on the real line; the inverse of `tfb.Sigmoid`.

    Args:
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(self, event_shape: Shape, *, dtype=tf.float32, name=None):
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _inverse_and_log_det(self, x):
        return tf.sigmoid(x), self._log_det(x)

    def _forward_and_log_det(self, z):
        # A latent that rounding put on the edge of the interval counts as the nearest number inside it.
        edge = np.finfo(self.dtype.as_numpy_dtype).epsneg
        z = tf.clip_by_value(z, edge, 1.0 - edge)
        # 1 - z is exact where it matters, near 1; ONNX has no log1p.
        x = tf.math.log(z) - tf.math.log(1.0 - z)
        return x, -self._log_det(x)

    def _log_det(self, x):
        axes = list(range(-len(self.data_shape), 0))
        return -tf.reduce_sum(tf.nn.softplus(x) + tf.nn.softplus(-x), axis=axes)
