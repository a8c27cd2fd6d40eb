"""TFRecords that are read in blocks."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from flowzoo.data.formats.packed import float_spans, packed_chunks
from flowzoo.data.formats.tfrecord import read_tfrecord


def example(**features):
    lists = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))
        for name, values in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


@pytest.fixture
def write(tmp_path):
    def write_records(records, name="a.tfrecord"):
        with tf.io.TFRecordWriter(str(tmp_path / name), "GZIP" if name.endswith(".gz") else None) as writer:
            for record in records:
                writer.write(record)
        return tmp_path / name

    return write_records


@pytest.fixture
def rows(rng):
    return rng.normal(size=(23, 3)).astype(np.float32)


def read(path, record, spans, size=5):
    """The rows, their chunks' sizes, and what the generator returned."""
    chunks, generator = [], packed_chunks(path, record, spans, size)
    try:
        while True:
            chunks.append(next(generator)[0])
    except StopIteration as stop:
        return np.concatenate(chunks or [np.zeros((0, 3))]), [len(c) for c in chunks], stop.value


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
def test_blocks(write, rows, name):
    records = [example(x=row) for row in rows]
    got, sizes, left_at = read(write(records, name), records[0], float_spans(records[0], [rows[0]]))
    np.testing.assert_array_equal(got, rows)
    assert (sizes, left_at) == ([5, 5, 5, 5, 3], None)


def test_features_in_any_order_and_others_between_them(write, rows):
    """Uses a long record, whose field lengths take two bytes."""
    wide = np.tile(rows, 20)
    records = [example(b=row[:1], a=row[1:], other=5.0) for row in wide]
    spans = float_spans(records[0], [wide[0, 1:], wide[0, :1]])
    got, _, left_at = read(write(records), records[0], spans)
    np.testing.assert_array_equal(got, np.roll(wide, -1, axis=1))
    assert left_at is None


def test_equal_features_are_ambiguous(rows):
    assert float_spans(example(a=rows[0], b=rows[0]), [rows[0]]) is None
    assert float_spans(example(a=rows[0]), [rows[1]]) is None


def test_another_kind_of_record_ends_the_blocks(write, rows):
    records = [example(x=row) for row in rows]
    records[12] = example(x=rows[12], more=[1.0])
    path = write(records)
    spans = float_spans(records[0], [rows[0]])
    got, _, left_at = read(path, records[0], spans)
    assert left_at == 12
    np.testing.assert_array_equal(got, rows[:12])
    # TensorFlow reads the rest.
    source = read_tfrecord(path, "x", False)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in source.chunks(None)]), rows)


def test_any_damaged_byte_ends_the_blocks(write, rows):
    records = [example(x=row) for row in rows[:3]]
    path = write(records)
    content, size = path.read_bytes(), len(records[0]) + 16
    spans = float_spans(records[0], [rows[0]])
    for position in range(size, 3 * size):
        for bit in (1, 128):
            damaged = bytearray(content)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            assert read(path, records[0], spans)[2] == position // size, position


@pytest.mark.parametrize(("name", "cut"), [("a.tfrecord", 1), ("a.tfrecord", 30), ("a.tfrecord.gz", 30)])
def test_a_truncated_file_is_refused_by_name(write, rows, name, cut):
    """It ends in the tail of the last record, or in its head, which TensorFlow accepts."""
    path = write([example(x=row) for row in rows], name)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"a\.tfrecord.* cannot be read"):
        list(read_tfrecord(path, None, False).chunks(None))


def test_a_small_gzip_file_is_read_twice(write, rows):
    records = [example(x=row) for row in rows]
    path = write(records, "a.tfrecord.gz")
    assert gzip.decompress(path.read_bytes()).count(records[1]) == 1
    source = read_tfrecord(path, None, False)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([x for x, _ in source.chunks(None)]), rows)
