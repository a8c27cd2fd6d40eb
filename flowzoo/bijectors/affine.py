"""Affine: x = z * exp(log_scale) + shift, elementwise; actnorm, standardisation and couplings use it."""

from __future__ import annotations

import math

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


def bounded_log_scale(raw: tf.Tensor, bound: float) -> tf.Tensor:
    """Bounds a log-scale to ``(-bound, bound)`` by a tanh with slope 1 at 0.

    Unbounded scales diverge to NaN; one-sided bounds, such as a sigmoid, cannot concentrate a density.
    """
    return bound * tf.tanh(raw / bound)


class Affine(FusedBijector):
    """``x = z * exp(log_scale) + shift``, elementwise; the log-det is the sum of ``log_scale``.

    Args:
        shift: Shift that broadcasts against ``[..., *event_shape]``; ``None`` for no shift.
        log_scale: Logarithm of the scale, which broadcasts as well; ``None`` for volume-preserving (additive)
            maps.
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Affine
        >>> x, log_det = Affine(1.0, [0.0, 0.5], (2,)).forward_and_log_det([[1.0, 0.0]])
        >>> x.numpy().tolist(), float(log_det)
        ([[2.0, 1.0]], 0.5)
    """

    def __init__(self, shift, log_scale, event_shape: Shape, *, dtype=tf.float32, name=None):
        self.shift = None if shift is None else tf.convert_to_tensor(shift, dtype)
        self.log_scale = None if log_scale is None else tf.convert_to_tensor(log_scale, dtype)
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        x = z if self.log_scale is None else z * tf.exp(self.log_scale)
        return x if self.shift is None else x + self.shift, self._log_det()

    def _inverse_and_log_det(self, x):
        z = x if self.shift is None else x - self.shift
        return z if self.log_scale is None else z * tf.exp(-self.log_scale), -self._log_det()

    def _log_det(self):
        if self.log_scale is None:
            return tf.zeros([], self.dtype)
        # A log-scale shared by several elements (one per channel, for example) counts once for each of them.
        ndims = min(len(self.data_shape), self.log_scale.shape.rank)
        own = self.log_scale.shape[self.log_scale.shape.rank - ndims :].num_elements()
        total = tf.reduce_sum(self.log_scale, axis=list(range(-ndims, 0)))
        return total * (math.prod(self.data_shape) / own)
