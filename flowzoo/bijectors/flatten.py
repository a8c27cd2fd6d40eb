"""Flatten: the pixels of an image as one vector."""

from __future__ import annotations

import math

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


class Flatten(FusedBijector):
    """Maps data of any shape to latent vectors ``(D,)`` in row-major order; log-det 0.

    Args:
        data_shape: Event shape of the data, for example ``(H, W, C)``.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Flatten
        >>> Flatten((2, 2, 1)).inverse([[[1.0], [2.0]], [[3.0], [4.0]]]).numpy()
        array([1., 2., 3., 4.], dtype=float32)
    """

    def __init__(self, data_shape: Shape, *, dtype=tf.float32, name=None):
        super().__init__((math.prod(data_shape),), data_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return tf.reshape(z, tf.concat([tf.shape(z)[:-1], self.data_shape], axis=0)), self._none()

    def _inverse_and_log_det(self, x):
        batch = tf.shape(x)[: x.shape.rank - len(self.data_shape)]
        return tf.reshape(x, tf.concat([batch, self.latent_shape], axis=0)), self._none()

    def _none(self):
        return tf.zeros([], self.dtype)
