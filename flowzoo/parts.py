"""Rows in equal parts, one on each core: XLA's programs for CPUs keep one core busy, so several run at once.

A program is compiled once, for the rows of a part, and called from a graph that is not compiled: TensorFlow's
executor runs the calls at the same time.
"""

from __future__ import annotations

import contextvars
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Fewer images than this are not worth a program of their own in training.
_LEAST_IMAGES = 8

_share = contextvars.ContextVar[tuple[Any, int] | None]("flowzoo_share", default=None)


def cores() -> int:
    """How many programs can run side by side: one on a GPU, which is filled by one."""
    if tf.config.list_logical_devices("GPU"):
        return 1
    return tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1


def up_to(most: int) -> int:
    """The largest power of two that is not above `most`, and at least 1."""
    return 1 << max(most, 1).bit_length() - 1


def side_by_side(compiled: Callable, count: int) -> Callable:
    """A compiled function of rows as so many calls with equal parts of them."""

    def in_parts(*tensors):
        parts = zip(*[tf.split(tensor, count) for tensor in tensors], strict=True)
        results = [compiled(*part) for part in parts]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)

    return tf.function(in_parts, autograph=False)


class MeanOverParts:
    """Means over a batch of images, each core computing those of its own rows.

    Args:
        compute: From the tensors of some rows, or None, to a nest of means over them (None where there is
            none) and the weight of these rows. It is compiled.
        most: How many parts there are at most; fewer of a small batch, or of one that they do not divide.
    """

    def __init__(self, compute: Callable, most: int):
        self._most = most

        def of_share(index, count, *tensors):
            token = _share.set((index, count))
            try:
                return compute(*tensors)
            finally:
                _share.reset(token)

        self._compiled = tf.function(of_share, jit_compile=True, autograph=False)
        self._joined = tf.function(_mean, jit_compile=True, autograph=False)

    def __call__(self, *batch):
        """The means over the whole batch, and its weight; in a graph."""
        rows = batch[0].shape[0]
        count = math.gcd(rows, up_to(min(self._most, rows // _LEAST_IMAGES)))
        cut = [[None] * count if each is None else tf.split(each, count) for each in batch]
        results = [
            self._compiled(tf.constant(index), count, *tensors)
            for index, tensors in enumerate(zip(*cut, strict=True))
        ]
        return self._joined(results)


def _mean(results):
    """The means of all, and their weight, of pairs of means and weights."""
    weights = [weight for _, weight in results]
    total = tf.add_n(weights)

    def mean(*means):
        if means[0] is None:
            return None
        weighted = tf.add_n([each * weight for each, weight in zip(means, weights, strict=True)])
        return tf.math.divide_no_nan(weighted, total)

    return tf.nest.map_structure(mean, *[means for means, _ in results]), total


def share() -> tuple[Any, int] | None:
    """Which part of how many is being traced within a `MeanOverParts`: a scalar tensor and a number."""
    return _share.get()
