"""TensorFlow Datasets: the prepared MNIST, a small builder, and life without a network."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import flowzoo.data
from flowzoo.data.catalog import DatasetInfo, OpenRequest
from flowzoo.data.datasets.images import open_tfds


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
    assert builder.info.features["image"].shape == info.event_shape
    assert builder.info.features["image"].np_dtype == np.dtype(info.dtype)
    assert builder.info.features["label"].num_classes == info.num_classes


def test_offline_without_data_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/cifar10.*download=True.*data_dir="):
        flowzoo.data.load("cifar10", data_dir=tmp_path, download=False)


class Counting(tfds.core.GeneratorBasedBuilder):
    """A data set of vectors without labels, made on the spot."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"row": tfds.features.Tensor(shape=(2,), dtype=np.float32)})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(50), "test": self._generate_examples(20)}

    def _generate_examples(self, rows):
        for i in range(rows):
            yield i, {"row": np.array([i, -i], np.float32)}


INFO = DatasetInfo("counting", "0, 1, ...", (2,), "float32", None, {"train": 50, "test": 20}, "CC0", "here")


def test_a_builder_of_our_own_is_prepared_and_streamed(tmp_path):
    flowzoo.data.register_dataset(INFO)(
        lambda request: open_tfds(request, lambda directory: Counting(data_dir=directory), feature="row")
    )
    try:
        for cache in (True, False):
            dataset = flowzoo.data.load("counting", batch_size=16, data_dir=tmp_path, cache=cache)
            rows = np.concatenate(list(dataset.as_numpy_iterator()))
            assert int(dataset.cardinality()) == 4
            np.testing.assert_array_equal(np.sort(rows[:, 0]), np.arange(50))
        with pytest.raises(ValueError, match="no labels"):
            flowzoo.data.load("counting", labels=True, data_dir=tmp_path)
    finally:
        flowzoo.data.catalog.unregister_dataset("counting")


class Unreachable:
    """A builder whose download fails, as without a network."""

    data_path = "/nowhere/counting"

    def is_prepared(self):
        return False

    def download_and_prepare(self):
        raise ConnectionError("no route to host")


def test_a_failed_download_says_how_to_do_without():
    request = OpenRequest(INFO, "train", False, None, True)
    with pytest.raises(RuntimeError, match=r"no route to host.*copy DIR.*data_dir="):
        open_tfds(request, lambda directory: Unreachable(), feature="row")
