"""Permute: a fixed permutation of the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


class Permute(FusedBijector):
    """``x[..., i] = z[..., permutation[i]]``; log-det 0.

    Args:
        permutation: A permutation of ``range(event_shape[-1])``.
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Raises:
        ValueError: If `permutation` is not a permutation.
    """

    def __init__(self, permutation: Sequence[int], event_shape: Shape, *, dtype=tf.float32, name=None):
        self._permutation = np.asarray(permutation, np.int32)
        if sorted(self._permutation.tolist()) != list(range(event_shape[-1])):
            raise ValueError(
                f"permutation must hold each of 0..{event_shape[-1] - 1} once; got {list(permutation)}."
            )
        self._reversal = np.array_equal(self._permutation, np.arange(event_shape[-1])[::-1])
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._take(z, self._permutation), tf.zeros([], self.dtype)

    def _inverse_and_log_det(self, x):
        return self._take(x, np.argsort(self._permutation)), tf.zeros([], self.dtype)

    def _take(self, x, order):
        # A reversal is cheaper than a gather, and so is its gradient.
        return tf.reverse(x, axis=[-1]) if self._reversal else tf.gather(x, order, axis=-1)
