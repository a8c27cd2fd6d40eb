"""Builders of TensorFlow Datasets: the prepared MNIST, and loading without a network."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import flowzoo.data


@pytest.mark.needs_shared
def test_mnist(shared_tfds):
    offline = {"data_dir": shared_tfds, "download": False, "batch_size": 100}
    train = flowzoo.data.load("mnist", "train[:1000]", labels=True, drop_remainder=True, **offline)
    assert train.element_spec[0] == tf.TensorSpec((100, 28, 28, 1), tf.uint8)
    assert int(train.cardinality()) == 10
    assert len(np.unique(np.concatenate([y for _, y in train]))) == 10
    x = np.concatenate(list(flowzoo.data.load("mnist", "test", **offline).as_numpy_iterator()))
    assert x.shape == (10_000, 28, 28, 1)
    assert x.mean() / 255 == pytest.approx(0.1325, abs=1e-4)
    held_out = flowzoo.data.load("mnist", "validation", cache=False, **offline)
    tail = flowzoo.data.load("mnist", "train[55000:]", shuffle=False, **offline)
    assert int(held_out.cardinality()) == 50
    np.testing.assert_array_equal(next(iter(held_out)), next(iter(tail)))


@pytest.mark.needs_shared
def test_a_wrong_split_of_mnist(shared_tfds):
    for split in ("valid", "train[:x]"):
        with pytest.raises(ValueError, match=r"no split .*'train' \(60000\)"):
            flowzoo.data.load("mnist", split, data_dir=shared_tfds, download=False)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_the_catalog_agrees_with_the_stock_builders(name, tmp_path):
    builder = tfds.builder(name, data_dir=tmp_path)
    info = flowzoo.data.dataset_info(name)
    assert str(builder.version) == info.version
    assert builder.info.features["image"].shape == info.event_shape
    assert builder.info.features["image"].np_dtype == np.dtype(info.dtype)
    assert builder.info.features["label"].num_classes == info.num_classes


def test_without_data_the_offline_error_names_the_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/cifar10.*download=True.*data_dir="):
        flowzoo.data.load("cifar10", data_dir=tmp_path, download=False)
