"""The pipeline from a `Source` to a shuffled, batched, prefetched `tf.data.Dataset`.

Rows move in blocks, never one by one. Rows that fit in memory are gathered from one tensor by index,
a block of batches at a time. Larger data are streamed through a pool that is shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from flowzoo.data.arrays import gather, plain
from flowzoo.data.source import CHUNK_BYTES, Chunk, Source

Cache = bool | Literal["auto"]

AUTO_CACHE_BYTES = 512 * 2**20
POOL_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Collected:
    """The result of a first pass: the number of rows, and the rows themselves if they are kept."""

    rows: int
    kept: Chunk | None


def collect(source: Source, cache: Cache) -> Collected:
    """Makes a first pass over the source, unless the number of rows is known and they are not kept.

    Mistakes in the data (for example a missing value in the millionth row) raise a ValueError here, instead
    of an error of a TensorFlow op in the middle of training.

    Args:
        source: The rows.
        cache: True keeps the rows in memory, False does not, "auto" keeps up to `AUTO_CACHE_BYTES`.

    Returns:
        The number of rows, and the rows if they are kept.
    """
    limit = {True: np.inf, False: 0, "auto": AUTO_CACHE_BYTES}[cache]
    if source.rows is not None and source.rows * source.row_bytes > limit:
        return Collected(source.rows, None)
    rows, kept = 0, []
    for x, labels in source.chunks(None):
        rows += len(x)
        if rows * source.row_bytes <= limit:
            kept.append((x, labels))
        else:
            kept.clear()
    fits = rows * source.row_bytes <= limit
    return Collected(rows, _joined(kept, rows, source) if fits else None)


def make_dataset(
    source: Source,
    collected: Collected,
    *,
    batch_size: int | None,
    shuffle: bool,
    seed: int | None,
    epoch: tf.Variable | None = None,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Builds the pipeline.

    Args:
        source: The rows.
        collected: The result of `collect` for the source.
        batch_size: Rows in a batch; None gives single rows.
        shuffle: Whether each epoch has a new order.
        seed: Seed of that order; None for a new one each time.
        epoch: Variable that holds the number of the epoch. The order is then a function of it and of the
            seed. Without it the order depends on how often the dataset has been iterated over.
        drop_remainder: Whether to drop a smaller last batch.

    Returns:
        A dataset of rows, or of (row, label) pairs, with known cardinality and static event shape.
    """
    unit = batch_size or 1
    block = unit * max(1, CHUNK_BYTES // 2 // max(1, unit * source.row_bytes))
    if collected.kept is not None:
        dataset = _from_memory(collected.kept, block, _epoch_seeds(seed, epoch) if shuffle else None)
    else:
        dataset = _from_stream(source, _epoch_seeds(seed, epoch) if shuffle else None)
    if batch_size is None:
        dataset, count = dataset.unbatch(), collected.rows
    else:
        dataset = dataset.rebatch(batch_size, drop_remainder=drop_remainder)
        count = collected.rows // batch_size if drop_remainder else -(-collected.rows // batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _epoch_seeds(seed: int | None, epoch: tf.Variable | None) -> tf.data.Dataset:
    """A dataset of one number, which differs from epoch to epoch."""
    if epoch is None:
        return tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)

    @plain
    def of_epoch(_: Any) -> Any:
        key = tf.stack([tf.constant(seed or 0, tf.int64), epoch.read_value()])
        return tf.random.stateless_uniform([], key, 0, 2**31 - 1, tf.int64)

    return tf.data.Dataset.range(1).map(of_epoch)


def _from_memory(kept: Chunk, block: int, seeds: tf.data.Dataset | None) -> tf.data.Dataset:
    arrays = tuple(array for array in kept if array is not None)
    rows = len(arrays[0])
    with tf.device("CPU:0"):  # On a GPU each block would be copied there and back.
        tensors = tuple(tf.convert_to_tensor(array) for array in arrays)

    @plain
    def order(seed: Any) -> Any:
        index = tf.range(rows)
        if seeds is None:
            return index
        return tf.random.experimental.stateless_shuffle(index, seed=tf.stack([seed, 0]))

    epochs = tf.data.Dataset.range(1) if seeds is None else seeds
    batches = gather(tensors, epochs.map(order), block)
    return batches if len(tensors) > 1 else batches.map(plain(lambda x: x))


def _from_stream(source: Source, seeds: tf.data.Dataset | None) -> tf.data.Dataset:
    signature: Any = tf.TensorSpec((None, *source.event_shape), source.dtype)
    if source.labelled:
        signature = (signature, tf.TensorSpec((None,), tf.int64))
    if seeds is None:
        return _generated(lambda: source.chunks(None), signature, ())

    def pass_of(seed: int) -> Iterator[Chunk]:
        return shuffled(source, np.random.default_rng(int(seed)))

    return seeds.flat_map(plain(lambda seed: _generated(pass_of, signature, (seed,))))


def _generated(
    chunks: Callable[..., Iterator[Chunk]], signature: Any, arguments: tuple[Any, ...]
) -> tf.data.Dataset:
    def generate(*values: Any) -> Iterator[Any]:
        for x, labels in chunks(*values):
            yield x if labels is None else (x, labels)

    return tf.data.Dataset.from_generator(generate, output_signature=signature, args=arguments)


def shuffled(source: Source, rng: np.random.Generator) -> Iterator[Chunk]:
    """One pass in random order, with a pool of rows in memory.

    Chunks come in a random order if the source supports it. They fill a pool of `POOL_BYTES`;
    whenever it is full, a random half of it is yielded.
    """
    room = max(2, POOL_BYTES // max(1, source.row_bytes))
    pool: list[Chunk] = []
    held = 0
    for chunk in source.chunks(rng):
        pool.append(chunk)
        held += len(chunk[0])
        if held >= room:
            x, labels = _permuted(pool, held, source, rng)
            half = held // 2
            yield x[:half], None if labels is None else labels[:half]
            pool = [(x[half:], None if labels is None else labels[half:])]
            held -= half
    if held:
        yield _permuted(pool, held, source, rng)


def _permuted(pool: list[Chunk], held: int, source: Source, rng: np.random.Generator) -> Chunk:
    x, labels = _joined(pool, held, source)
    order = rng.permutation(held)
    return x[order], None if labels is None else labels[order]


def _joined(chunks: list[Chunk], rows: int, source: Source) -> Chunk:
    """Concatenates the chunks; each is freed once it is copied, so memory holds the rows about once."""
    x = np.empty((rows, *source.event_shape), source.dtype)
    labels = np.empty(rows, np.int64) if source.labelled else None
    chunks.reverse()
    start = 0
    while chunks:
        part, part_labels = chunks.pop()
        x[start : start + len(part)] = part
        if labels is not None and part_labels is not None:
            labels[start : start + len(part)] = part_labels
        start += len(part)
    return x, labels
