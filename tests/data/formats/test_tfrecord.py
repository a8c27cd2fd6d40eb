"""TFRecord files."""

import numpy as np
import pytest
import tensorflow as tf

from flowzoo.data.formats.tfrecord import read_tfrecord


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    array = np.ravel(value)
    if array.dtype.kind == "i":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=array))
    return tf.train.Feature(float_list=tf.train.FloatList(value=array))


@pytest.fixture
def write(tmp_path):
    def write_examples(examples, name="a.tfrecord"):
        options = "GZIP" if name.endswith(".gz") else None
        with tf.io.TFRecordWriter(str(tmp_path / name), options) as writer:
            for example in examples:
                if not isinstance(example, bytes):
                    features = {key: feature(value) for key, value in example.items()}
                    example = tf.train.Example(features=tf.train.Features(feature=features))
                    example = example.SerializeToString()
                writer.write(example)
        return tmp_path / name

    return write_examples


def read(source):
    chunks = list(source.chunks(None))
    labels = [y for _, y in chunks if y is not None]
    return np.concatenate([x for x, _ in chunks]), np.concatenate(labels) if labels else None


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecords", "a.tfrecord.gz"])
@pytest.mark.parametrize("key", ["x", "anything"])
def test_vectors(write, table, name, key):
    source = read_tfrecord(write([{key: row} for row in table], name), None, False)
    assert (source.event_shape, source.dtype, source.rows) == ((3,), np.float32, None)
    assert source.columns == (f"{key}[0]", f"{key}[1]", f"{key}[2]")
    np.testing.assert_array_equal(read(source)[0], table)


def test_named_features_end_to_end_with_labels(write):
    examples = [{"a": np.array([i, 2 * i]), "b": 0.5 * i, "label": i % 2} for i in range(6)]
    path = write(examples)
    x, labels = read(read_tfrecord(path, ["b", "a"], True))
    i = np.arange(6)
    np.testing.assert_array_equal(x, np.stack([0.5 * i, i, 2 * i], axis=1))
    np.testing.assert_array_equal(labels, i % 2)
    assert read_tfrecord(path, ["b", "a"], False).columns == ("b", "a[0]", "a[1]")


def test_images(write):
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3)).astype(np.uint8)
    examples = [{"image": tf.io.encode_png(x).numpy(), "label": i} for i, x in enumerate(images)]
    source = read_tfrecord(write(examples), None, True)
    assert (source.event_shape, source.dtype) == ((6, 4, 3), np.uint8)
    x, labels = read(source)
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(labels, np.arange(5))


PNG = tf.io.encode_png(np.zeros((2, 2, 1), np.uint8)).numpy()
BIG_PNG = tf.io.encode_png(np.zeros((3, 2, 1), np.uint8)).numpy()


@pytest.mark.parametrize(
    ("examples", "columns", "labels", "message"),
    [
        ([], None, False, "is empty"),
        ([b"\xff\xff\xff"], None, False, "not tf.train.Example messages"),
        ([{"a": 1.0, "b": 2.0}], None, False, "choose the features.*'a', 'b'"),
        ([{"height": 1.0}], "hight", False, "Did you mean 'height'"),
        ([{"x": 1.0}], None, True, "no feature 'label'"),
        ([{"x": 1.0, "image": PNG}], ["x", "image"], False, "must be the only column"),
        ([{"x": np.zeros(0)}], None, False, "empty in the first record"),
        ([{"x": b"not an image"}], None, False, "cannot be read"),
        ([{"x": [1.0, 2.0]}, {"x": [1.0]}], None, False, r"a\.tfrecord cannot be read"),
        ([{"x": 1.0}, {"z": 1.0}], None, False, "vectors of one length"),
        ([{"x": PNG}, {"x": BIG_PNG}], None, False, "of one size"),
    ],
)
def test_mistakes(write, examples, columns, labels, message):
    with pytest.raises(ValueError, match=message):
        read(read_tfrecord(write(examples), columns, labels))


def test_damaged_files_are_refused_by_name(write, table):
    path = write([{"x": row} for row in table])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tfrecord cannot be read"):
        read(read_tfrecord(path, None, False))
