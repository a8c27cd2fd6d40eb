"""ReplicaLoop: what `fit` and `evaluate` run for a flow that was made under a `tf.distribute` strategy."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo.training import loops

_SUM = tf.distribute.ReduceOp.SUM
# Many small weights go in one message instead of one message each.
_PACKED = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=32 * 2**20)


class ReplicaLoop(loops.PaddedSteps):
    """Replaces `keras.Model.train_function` for the replicas of one or several machines.

    Every worker iterates over the same global batches, and each replica takes its own rows of them. All
    replicas have the same number of rows: a batch that does not divide is padded with rows of weight 0. So
    each row counts once, and a step is the one that a single device would take with the global batch.

    Args:
        strategy: Strategy that the model was made under.
        step: ``step(x, context, weight)`` runs a global batch on all replicas; returns the logs.
        weights: Weights of the model, which must agree between workers.
        steps: Number of batches per call.
        eager: Whether to leave the step uncompiled.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step: Callable,
        weights: list[keras.Variable],
        steps: int,
        eager: bool,
    ):
        super().__init__(step, steps, strategy.num_replicas_in_sync, eager)
        self._strategy, self._weights = strategy, weights
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    def begin_epoch(self, batch: tuple) -> None:
        """Raises a ValueError, on every worker, unless all see the same rows and hold the same weights.

        With an unseeded shuffle, for example, two workers would see some rows and no worker others.
        """
        rows = zlib.crc32(b"".join(part.numpy().tobytes() for part in batch if part is not None)) % 2**20
        norm = math.sqrt(sum(float(np.sum(np.square(w.numpy(), dtype=np.float64))) for w in self._weights))
        total, squares = self._sum(tf.constant([[rows, norm], [rows**2, norm**2]], tf.float64)).numpy()
        # By Cauchy-Schwarz, zero only if all numbers are equal. Every worker gets the same result.
        spread = self._strategy.num_replicas_in_sync * squares - total**2
        if spread[0] > 0:
            raise ValueError(
                "The workers do not see the same rows in the same order, so they would take their rows from "
                "different batches. Give all workers the same data, and every shuffle a seed."
            )
        if spread[1] > 1e-9 * total[1] ** 2:
            raise ValueError(
                "The workers do not hold the same weights. All of them must adapt to the same rows and read "
                "the same files: use a run directory that all workers share."
            )

    def _sum_over_replicas(self, value):
        def on_replica(value):
            return tf.distribute.get_replica_context().all_reduce(_SUM, tf.identity(value))

        return on_first(self._strategy, self._strategy.run(on_replica, args=(value,)))


def mean_over_rows(strategy: tf.distribute.Strategy, compute: Callable, batch: tuple) -> tuple:
    """Means over a global batch, where each replica computes those of its own rows.

    Args:
        strategy: Strategy whose replicas compute.
        compute: Function from the tensors of some rows to a nest of means over the rows, and their weight.
        batch: Tensors of the rows of a global batch, or None.

    Returns:
        The means over the global batch and the weight of its rows, the same on every replica.
    """

    def on_replica(*batch):
        context = tf.distribute.get_replica_context()
        means, weight = compute(*[_own_rows(tensor, context) for tensor in batch])
        flat = tf.nest.flatten(means)  # The gradient of an unused weight is None.
        sums = [mean * weight for mean in flat if mean is not None]
        *sums, total = context.all_reduce(_SUM, [*sums, weight], _PACKED)
        reduced = iter([tf.math.divide_no_nan(each, total) for each in sums])
        flat = [None if mean is None else next(reduced) for mean in flat]
        return tf.nest.pack_sequence_as(means, flat), total

    return strategy.run(on_replica, args=batch)


def on_first(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """A nest of values of this worker's first replica."""
    return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)


def spread_seeds(strategy: tf.distribute.Strategy, seeds: list[keras.Variable]) -> None:
    """Gives dropout's generators another state on each replica, so that they drop different units."""

    def on_replica():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            seed.assign_add(tf.cast(tf.stack([replica, 0]), seed.dtype))

    # A strategy that runs eagerly warns that it is slow.
    tf.function(lambda: strategy.run(on_replica), autograph=False)()


@contextlib.contextmanager
def summed_already(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Lets a Keras optimizer apply gradients that are the same on all replicas.

    Keras 3 sums gradients over replicas after it has clipped those of each replica, and has no option against
    it (keras#19308): the effect of the clipping would depend on the number of replicas.
    """
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients


def _own_rows(tensor, context):
    if tensor is None:
        return None
    rows = tensor.shape[0] // context.num_replicas_in_sync
    start = context.replica_id_in_sync_group * rows
    return tensor[start : start + rows]
