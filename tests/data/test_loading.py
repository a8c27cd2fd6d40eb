"""`load` from end to end: names, files, and the messages of mistakes."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import flowzoo.data


def rows(dataset):
    return np.concatenate([np.asarray(x) for x in dataset.as_numpy_iterator()])


def in_order(x):
    return x[np.lexsort(x.T)]


@pytest.fixture(params=["npy", "npz", "csv", "parquet", "tfrecord"])
def path(request, tmp_path, table):
    path = tmp_path / f"rows.{request.param}"
    if request.param == "npy":
        np.save(path, table.astype(np.float64))
    elif request.param == "npz":
        np.savez(path, X=table)
    elif request.param == "csv":
        np.savetxt(path, table, delimiter=",", header="a,b,c", comments="", fmt="%.9g")
    elif request.param == "parquet":
        pq.write_table(pa.table({n: table[:, i] for i, n in enumerate("abc")}), path)
    else:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in table:
                value = tf.train.Feature(float_list=tf.train.FloatList(value=row))
                features = tf.train.Features(feature={"x": value})
                writer.write(tf.train.Example(features=features).SerializeToString())
    return path


@pytest.mark.parametrize("cache", ["auto", False])
def test_every_format_gives_the_same_rows_and_splits(path, table, cache):
    everything = flowzoo.data.load(path, None, batch_size=32, cache=cache)
    assert everything.element_spec == tf.TensorSpec((None, 3), tf.float32)
    assert int(everything.cardinality()) == 10
    np.testing.assert_array_equal(rows(everything), table)
    parts = [
        rows(flowzoo.data.load(str(path), split, batch_size=32, cache=cache))
        for split in ("train", "validation", "test")
    ]
    # Fixed by the hash: for this table, in every format, now and later.
    assert [len(part) for part in parts] == [239, 29, 32]
    np.testing.assert_array_equal(in_order(np.concatenate(parts)), in_order(table))


def test_fractions_set_the_sizes(tmp_path, table):
    np.save(tmp_path / "a.npy", table)
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.5}
    load = flowzoo.data.load
    test = rows(load(tmp_path / "a.npy", "test", batch_size=32, **fractions))
    assert 110 < len(test) < 190
    with pytest.raises(ValueError, match=r"no rows in split 'validation'.*validation_fraction"):
        load(tmp_path / "a.npy", "validation", **fractions)


@pytest.mark.parametrize("cache", ["auto", False])
def test_missing_values_reach_the_user_as_a_value_error(tmp_path, cache):
    lines = [f"{i},{i if i % 50 else ''}" for i in range(200)]
    (tmp_path / "a.csv").write_text("a,b\n" + "\n".join(lines))
    with pytest.raises(ValueError, match=r"a\.csv: 4 of 200 rows .* in column 'b' \(4\)"):
        flowzoo.data.load(tmp_path / "a.csv", cache=cache)
    kept = flowzoo.data.load(tmp_path / "a.csv", "all", cache=cache, missing="drop", batch_size=10)
    assert int(kept.cardinality()) == 20
    assert len(rows(kept)) == 196
    one = flowzoo.data.load(tmp_path / "a.csv", "all", columns="a", batch_size=200)
    assert rows(one).shape == (200, 1)


@pytest.mark.parametrize("cache", ["auto", False])
def test_missing_values_become_the_means_of_the_training_rows(tmp_path, table, cache):
    table[::5, 1] = np.nan
    np.save(tmp_path / "a.npy", table)
    load = partial(flowzoo.data.load, tmp_path / "a.npy", batch_size=32, missing="mean", cache=cache)
    train, validation, test = (rows(load(split)) for split in ("train", "validation", "test"))
    assert len(train) + len(validation) + len(test) == 300
    there = np.isin(train[:, 0], table[~np.isnan(table[:, 1]), 0])
    mean = train[there, 1].mean(dtype=np.float64)
    for part in (train, validation, test):
        filled = part[np.isin(part[:, 0], table[::5, 0]), 1]
        assert len(filled)
        np.testing.assert_allclose(filled, mean, rtol=1e-6)
    np.testing.assert_array_equal(
        in_order(rows(load(None))), in_order(np.concatenate([train, validation, test]))
    )


def test_only_train_is_shuffled_unless_asked():
    load = flowzoo.data.load
    orders = [
        rows(load("digits", split, batch_size=500, shuffle=shuffle))
        for split, shuffle in (
            ("train[:500]", None),
            ("train[:500]", False),
            ("test", None),
            ("test", False),
            ("test", True),
        )
    ]
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[2], orders[3])
    assert not np.array_equal(orders[3], orders[4])


def test_images_in_files_stay_uint8(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    dataset = flowzoo.data.load(tmp_path / "a.npy", "all", batch_size=5, drop_remainder=True)
    assert dataset.element_spec == tf.TensorSpec((5, 4, 4, 3), tf.uint8)
    np.testing.assert_array_equal(rows(dataset), images)


def test_labels_of_files(tmp_path, table):
    np.savez(tmp_path / "a.npz", X=table, y=(table[:, 0] > 0).astype(int))
    dataset = flowzoo.data.load(tmp_path / "a.npz", labels=True, batch_size=50, cache=False)
    for x, labels in dataset:
        np.testing.assert_array_equal(x[:, 0] > 0, labels == 1)


def test_keras_fits_and_knows_the_steps(tmp_path, table):
    import keras

    np.savez(tmp_path / "a.npz", X=table, y=np.ones(300, int))
    dataset = flowzoo.data.load(tmp_path / "a.npz", "all", labels=True, batch_size=100)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(dataset, epochs=2, verbose=0)
    assert model.optimizer.iterations == 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("two_mons",), ValueError, "Did you mean 'two_moons'.*path"),
        (("missing.csv",), FileNotFoundError, "missing.csv"),
        (("two_moons", "tset"), ValueError, r"no split 'tset'.*'train' \(50000\)"),
        ((42,), TypeError, "got int"),
    ],
)
def test_wrong_sources(arguments, error, message):
    with pytest.raises(error, match=message):
        flowzoo.data.load(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "at least 1"),
        ({"batch_size": 2.5}, TypeError, "integer"),
        ({"batch_size": True}, TypeError, "integer"),
        ({"cache": "disk"}, ValueError, "'auto'"),
        ({"missing": "ignore"}, ValueError, "'drop'"),
        ({"columns": ["a"]}, ValueError, "columns= is for files"),
        ({"labels": "kind"}, ValueError, "for files"),
        ({"batch_size": 20_000, "drop_remainder": True}, ValueError, "smaller batch_size"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        flowzoo.data.load("two_moons", "test", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train[:10]"}, "'train', 'validation', 'test', 'all'"),
        ({"columns": "d"}, "no column 'd'"),
        ({"labels": "kind"}, "no column 'kind'"),
        ({"test_fraction": 2.0}, r"test_fraction must be in \[0, 1\)"),
    ],
)
def test_wrong_options_for_files(tmp_path, options, message):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=message):
        flowzoo.data.load(tmp_path / "a.csv", **options)


def test_an_empty_file_says_so(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match="no rows in split 'all'"):
        flowzoo.data.load(tmp_path / "a.npy", "all")
