"""Batches of arrays in memory, from a tf.data pipeline that stops without delay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

# There is no Python control flow on tensors here for AutoGraph to convert.
plain = tf.autograph.experimental.do_not_convert


def gather(tensors: tuple, orders: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Batches of rows in the given orders, one order for each pass.

    Datasets nested in a `flat_map` would do the same, but delay the start of each epoch by 20 ms.

    Args:
        tensors: Tensors ``[rows, ...]`` in memory.
        orders: Indices of all rows, ``[rows]``.
        size: Rows of a batch; the last one may have fewer.
    """

    @plain
    def pick(chosen: Any) -> tuple:
        # Keep the shape dynamic, so that a short last batch does not compile another program.
        chosen = tf.raw_ops.PlaceholderWithDefault(input=chosen, shape=[None])
        return tuple(tf.gather(tensor, chosen) for tensor in tensors)

    return orders.rebatch(size).map(pick)


def are_arrays(*parts: Any) -> bool:
    """Whether these are arrays or tensors, with rows on the first axis."""
    return all(len(getattr(part, "shape", ())) > 0 for part in parts)


def batches_of(parts: tuple, batch_size: int, shuffle: bool = False) -> tf.data.Dataset:
    """Batches of arrays with the same number of rows, in a new order in each pass if they are shuffled.

    The datasets that Keras makes of arrays use autotuning, and stopping it takes up to 0.2 seconds at the end
    of an epoch.

    Args:
        parts: Arrays or tensors ``[rows, ...]``.
        batch_size: Rows of a batch; the last one may have fewer.
        shuffle: Whether to shuffle; the order follows `tf.random.set_seed`.

    Raises:
        ValueError: If the arrays differ in their number of rows.

    Example:
        >>> import numpy as np
        >>> [x.numpy().tolist() for (x,) in batches_of((np.arange(5),), 2)]
        [[0, 1], [2, 3], [4]]
    """
    with tf.device("CPU:0"):
        tensors = tuple(
            tf.identity(part) if tf.is_tensor(part) else tf.constant(np.asarray(part)) for part in parts
        )
    counts = [int(tensor.shape[0]) for tensor in tensors]
    if len(set(counts)) > 1:
        raise ValueError(f"Data, context and weights must have the same number of rows; got {counts}.")
    rows = counts[0]
    count = math.ceil(rows / batch_size)

    @plain
    def shuffled(seed):
        return tf.random.experimental.stateless_shuffle(tf.range(rows), seed)

    if shuffle:
        seeds = tf.data.Dataset.random(rerandomize_each_iteration=True).batch(2).take(1)
        orders = seeds.map(shuffled)
    else:
        orders = tf.data.Dataset.from_tensors(tf.range(rows))
    options = tf.data.Options()
    options.autotune.enabled = False
    # The default optimizations would copy the arrays into a graph.
    options.experimental_optimization.apply_default_optimizations = False
    batches = gather(tensors, orders, batch_size).apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(2).with_options(options)
