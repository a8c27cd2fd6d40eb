"""A builder of our own: prepared, streamed, and refused without a network."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

import flowzoo.data
from flowzoo.data.catalog import DatasetInfo, OpenRequest
from flowzoo.data.prepared import open_tfds


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


def test_the_seed_sets_the_order_of_the_files(tmp_path, monkeypatch):
    builder = Counting(data_dir=tmp_path)
    builder.download_and_prepare()
    monkeypatch.setattr(
        builder,
        "as_dataset",
        lambda _as=builder.as_dataset, **options: seen.append(options) or _as(**options),
    )
    seen: list = []
    request = OpenRequest(INFO, "train", False, tmp_path, False)
    source = open_tfds(request, lambda directory: builder, feature="row")
    seen.clear()
    for seed in (1, 1, 2):
        list(source.chunks(np.random.default_rng(seed)))
    one, again, other = [options["read_config"].shuffle_seed for options in seen]
    assert one == again != other


class Unreachable:
    """A builder whose download fails, as without a network."""

    data_path = "/nowhere/counting"

    def is_prepared(self):
        return False

    def download_and_prepare(self):
        raise ConnectionError("no route to host")


def test_a_failed_download_says_how_to_load_offline():
    request = OpenRequest(INFO, "train", False, None, True)
    with pytest.raises(RuntimeError, match=r"no route to host.*copy DIR.*data_dir="):
        open_tfds(request, lambda directory: Unreachable(), feature="row")
