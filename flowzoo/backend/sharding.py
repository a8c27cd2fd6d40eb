"""Shards of a batch: XLA's programs for a CPU keep about one core busy, so each core computes a shard.

Either a program is compiled once for the rows of a shard and called from a graph that is not compiled, whose
executor runs the calls at the same time; or one program holds all shards (ADR 12).
"""

from __future__ import annotations

import contextvars
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from flowzoo.utils.sizes import power_of_two_floor

# Below these sizes a shard costs more than it gains: images in a shard that is a program of its own, and rows
# times weights of a shard inside a program, which pays for its share of the time to compile.
_LEAST_IMAGES, _LEAST_WORK, _MOST_IN_A_PROGRAM = 8, 2**23, 4

_shard = contextvars.ContextVar[tuple[Any, int] | None]("flowzoo_shard", default=None)


def cores() -> int:
    """How many programs can run at the same time: one on a GPU, which a single program fills."""
    if tf.config.list_logical_devices("GPU"):
        return 1
    return tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1


def in_shards(compiled: Callable, count: int) -> Callable:
    """A compiled function of rows as `count` calls, each with an equal shard of the rows."""

    def sharded(*tensors):
        shards = zip(*[tf.split(tensor, count) for tensor in tensors], strict=True)
        results = [compiled(*shard) for shard in shards]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)

    return tf.function(sharded, autograph=False)


class ShardedMean:
    """Means over a batch, computed shard by shard.

    Args:
        compute: Maps the tensors of some rows (or None) to a nest of means over them (None is allowed) and
            the weight of these rows.
        most: Highest number of shards. Small batches, and batches that do not divide, get fewer.
        least: Least number of rows in a shard.
        compiled: Whether each shard is a program of its own. If not, all shards are in the program that is
            being traced, where XLA runs independent parts at the same time.
    """

    def __init__(self, compute: Callable, most: int, least: int, compiled: bool):
        self._most, self._least = most, least

        def compute_shard(index, count, *tensors):
            token = _shard.set((index, count))
            try:
                return compute(*tensors)
            finally:
                _shard.reset(token)

        self._compute_shard, self._combine = compute_shard, _weighted_mean
        if compiled:
            self._compute_shard = tf.function(compute_shard, jit_compile=True, autograph=False)
            self._combine = tf.function(_weighted_mean, jit_compile=True, autograph=False)

    @classmethod
    def for_images(cls, compute: Callable, most: int) -> ShardedMean:
        """For convolutions: one program per shard, called from a graph."""
        return cls(compute, most, _LEAST_IMAGES, compiled=True)

    @classmethod
    def for_vectors(cls, compute: Callable, most: int, weights: int) -> ShardedMean:
        """For small networks with this many weights: all shards in the program that is being traced."""
        least = -(-_LEAST_WORK // max(weights, 1))
        return cls(compute, min(most, _MOST_IN_A_PROGRAM), least, compiled=False)

    def __call__(self, *batch):
        """The means over the whole batch and its weight; to be called in a graph."""
        rows = batch[0].shape[0]
        count = math.gcd(rows, power_of_two_floor(min(self._most, rows // self._least)))
        if count == 1:
            return self._compute_shard(tf.constant(0), 1, *batch)
        split = [[None] * count if each is None else tf.split(each, count) for each in batch]
        results = [
            self._compute_shard(tf.constant(index), count, *tensors)
            for index, tensors in enumerate(zip(*split, strict=True))
        ]
        return self._combine(results)


def _weighted_mean(results):
    """The mean of pairs (means, weight), and the total weight."""
    weights = [weight for _, weight in results]
    total = tf.add_n(weights)

    def mean(*means):
        if means[0] is None:
            return None
        weighted = tf.add_n([each * weight for each, weight in zip(means, weights, strict=True)])
        return tf.math.divide_no_nan(weighted, total)

    return tf.nest.map_structure(mean, *[means for means, _ in results]), total


def draw_rows(draw: Callable[[Any], tf.Tensor], rows: Any) -> tf.Tensor:
    """Random numbers for the rows of this shard or replica: those it has in one device's whole batch.

    Args:
        draw: Draws the numbers of a given number of rows, the same ones at each call.
        rows: Number of rows in this shard or replica.
    """
    index, count = _shard.get() or _replica_share()
    if count == 1:
        return draw(rows)
    numbers = draw(rows * count)
    return tf.reshape(numbers, tf.concat([[count, rows], tf.shape(numbers)[1:]], axis=0))[index]


def _replica_share():
    context = tf.distribute.get_replica_context()
    return (0, 1) if context is None else (context.replica_id_in_sync_group, context.num_replicas_in_sync)
