"""Rows in equal parts, one on each core: what XLA compiles for a CPU hardly keeps more than one busy.

Either a program is compiled once, for the rows of a part, and called from a graph that is not compiled:
TensorFlow's executor runs the calls at the same time. Or one program holds all parts (ADR 12).
"""

from __future__ import annotations

import contextvars
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Fewer images than this are not worth a program of their own in training; nor is a part of a batch of vectors
# with less than this of rows times weights worth its share in the time to compile, nor are many parts.
_LEAST_IMAGES, _LEAST_WORK, _MOST_IN_A_PROGRAM = 8, 2**23, 4

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
    """Means over a batch, each core computing those of its own rows.

    Args:
        compute: From the tensors of some rows, or None, to a nest of means over them (None where there is
            none) and the weight of these rows.
        most: How many parts there are at most; fewer of a small batch, or of one that they do not divide.
        least: How many rows a part has at least.
        compiled: Whether each part is a program of its own. If not, all of them are in the program that is
            being traced; XLA runs there at one time what does not depend on each other.
    """

    def __init__(self, compute: Callable, most: int, least: int, compiled: bool):
        self._most, self._least = most, least

        def of_share(index, count, *tensors):
            token = _share.set((index, count))
            try:
                return compute(*tensors)
            finally:
                _share.reset(token)

        self._of_share, self._join = of_share, _mean
        if compiled:
            self._of_share = tf.function(of_share, jit_compile=True, autograph=False)
            self._join = tf.function(_mean, jit_compile=True, autograph=False)

    @classmethod
    def of_images(cls, compute: Callable, most: int) -> MeanOverParts:
        """For convolutions: a program for each part, called from a graph."""
        return cls(compute, most, _LEAST_IMAGES, compiled=True)

    @classmethod
    def of_vectors(cls, compute: Callable, most: int, weights: int) -> MeanOverParts:
        """For small networks of so many weights: all parts in the program that is being traced."""
        least = -(-_LEAST_WORK // max(weights, 1))
        return cls(compute, min(most, _MOST_IN_A_PROGRAM), least, compiled=False)

    def __call__(self, *batch):
        """The means over the whole batch, and its weight; in a graph."""
        rows = batch[0].shape[0]
        count = math.gcd(rows, up_to(min(self._most, rows // self._least)))
        if count == 1:
            return self._of_share(tf.constant(0), 1, *batch)
        cut = [[None] * count if each is None else tf.split(each, count) for each in batch]
        results = [
            self._of_share(tf.constant(index), count, *tensors)
            for index, tensors in enumerate(zip(*cut, strict=True))
        ]
        return self._join(results)


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
