"""The pipeline: orders, batches, cardinality, memory and streams give the same rows."""

import numpy as np
import pytest
import tensorflow as tf

from flowzoo.data import pipeline
from flowzoo.data.source import array_source

ROWS = 1000


@pytest.fixture(params=["memory", "stream"])
def cache(request, monkeypatch):
    # Small chunks and a small pool, so that a thousand rows exercise both.
    monkeypatch.setattr("flowzoo.data.source.CHUNK_BYTES", 512)
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 512)
    monkeypatch.setattr(pipeline, "POOL_BYTES", 2048)
    return request.param == "memory"


def make(cache, *, labels=False, rows=ROWS, **options):
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    source = array_source(x, np.arange(rows) if labels else None)
    defaults = {"batch_size": 64, "shuffle": True, "seed": 0, "drop_remainder": False}
    collected = pipeline.collect(source, cache)
    assert (collected.kept is not None) == cache
    return pipeline.make_dataset(source, collected, **{**defaults, **options})


def epoch(dataset):
    return np.concatenate([np.reshape(x, (-1, 2)) for x in dataset.as_numpy_iterator()])[:, 0] / 2


def test_each_epoch_has_every_row_once_in_a_new_order(cache):
    dataset = make(cache)
    first, second = epoch(dataset), epoch(dataset)
    np.testing.assert_array_equal(np.sort(first), np.arange(ROWS))
    np.testing.assert_array_equal(np.sort(second), np.arange(ROWS))
    assert not np.array_equal(first, second)
    assert np.abs(np.corrcoef(first, np.arange(ROWS))[0, 1]) < 0.5


def test_repeat_reshuffles(cache):
    both = epoch(make(cache, batch_size=100).repeat(2))
    assert not np.array_equal(both[:ROWS], both[ROWS:])
    np.testing.assert_array_equal(np.sort(both[ROWS:]), np.arange(ROWS))


def test_seeds_decide_the_orders_epoch_by_epoch(cache):
    one, same, other = make(cache), make(cache), make(cache, seed=1)
    first = epoch(one)
    np.testing.assert_array_equal(first, epoch(same))
    np.testing.assert_array_equal(epoch(one), epoch(same))
    assert not np.array_equal(first, epoch(other))


def test_no_seed_gives_another_order_each_time(cache):
    assert not np.array_equal(epoch(make(cache, seed=None)), epoch(make(cache, seed=None)))


def test_without_shuffling_rows_keep_their_order(cache):
    dataset = make(cache, shuffle=False)
    np.testing.assert_array_equal(epoch(dataset), np.arange(ROWS))
    np.testing.assert_array_equal(epoch(dataset), np.arange(ROWS))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "drop_remainder", "sizes", "static"),
    [
        (64, False, [64] * 15 + [40], None),
        (64, True, [64] * 15, 64),
        (500, True, [500, 500], 500),
        (3000, False, [1000], None),
    ],
)
def test_batches(cache, shuffle, batch_size, drop_remainder, sizes, static):
    dataset = make(cache, batch_size=batch_size, drop_remainder=drop_remainder, shuffle=shuffle)
    assert dataset.element_spec == tf.TensorSpec((static, 2), tf.float32)
    assert int(dataset.cardinality()) == len(sizes)
    assert [len(x) for x in dataset] == sizes


def test_single_rows(cache):
    dataset = make(cache, batch_size=None)
    assert dataset.element_spec == tf.TensorSpec((2,), tf.float32)
    assert int(dataset.cardinality()) == ROWS
    np.testing.assert_array_equal(np.sort(epoch(dataset)), np.arange(ROWS))


def test_labels_stay_with_their_rows(cache):
    dataset = make(cache, labels=True)
    assert dataset.element_spec[1] == tf.TensorSpec((None,), tf.int64)
    for x, labels in dataset:
        np.testing.assert_array_equal(x[:, 0] / 2, labels)


def test_rows_that_fit_are_kept(monkeypatch):
    source = array_source(np.zeros((100, 2), np.float32))
    assert pipeline.collect(source, "auto").kept is not None
    monkeypatch.setattr(pipeline, "AUTO_CACHE_BYTES", 799)
    assert pipeline.collect(source, "auto").kept is None
    assert pipeline.collect(source, True).kept is not None
    assert pipeline.collect(source, False).rows == 100


def test_the_pool_mixes_beyond_chunks(monkeypatch):
    monkeypatch.setattr("flowzoo.data.source.CHUNK_BYTES", 80)
    monkeypatch.setattr(pipeline, "POOL_BYTES", 1600)
    source = array_source(np.arange(2000, dtype=np.float32).reshape(-1, 2))
    passes = list(pipeline.shuffled(source, np.random.default_rng(0)))
    rows = np.concatenate([x for x, _ in passes])[:, 0]
    assert len(passes) > 5
    assert len(np.unique(rows)) == 1000
    # Neighbours in the data are rarely neighbours in the pass.
    assert np.mean(np.abs(np.diff(rows)) == 2) < 0.02
