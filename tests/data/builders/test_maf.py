"""The MAF benchmarks downloaded, checked, prepared and loaded, from a small archive with the real layout."""

from dataclasses import replace

import numpy as np
import pytest

import flowzoo.data
from flowzoo.data.builders import maf
from flowzoo.data.catalog import dataset_info, register_dataset, unregister_dataset
from flowzoo.data.prepared import WrongDataError, open_tfds

COLUMNS = {"power": 6, "gas": 8, "hepmass": 21, "miniboone": 43, "bsds300": 63}
SMALL_ROWS = {
    "power": (49, 5, 6),
    "gas": (162, 18, 20),
    "hepmass": (54, 6, 40),
    "miniboone": (65, 7, 8),
    "bsds300": (40, 6, 9),
}
# Columns of the small files after the preprocessing.
SMALL_COLUMNS = COLUMNS | {"gas": 13, "hepmass": 25}


def small_benchmark(name, **changes):
    """A benchmark with the shapes that the small archive has."""
    benchmark = maf.BENCHMARKS[name]
    rows = dict(zip(("train", "validation", "test"), SMALL_ROWS[name], strict=True))
    facts = {"name": f"small_{name}", "splits": rows, "event_shape": (SMALL_COLUMNS[name],)} | changes
    return replace(benchmark, info=replace(benchmark.info, **facts))


@pytest.fixture
def register(small_archive):
    names = []

    def register(benchmark, md5=small_archive.md5):
        archive = maf.Archive(small_archive.url, md5)
        register_dataset(benchmark.info)(
            lambda request: open_tfds(
                request, lambda path: maf.MafBuilder(benchmark, path, archive), feature="x"
            )
        )
        names.append(benchmark.info.name)
        return benchmark.info.name

    yield register
    for name in names:
        unregister_dataset(name)


def test_the_catalog_has_the_published_columns_and_rows():
    rows = {
        "power": (1_659_917, 184_435, 204_928),
        "gas": (852_174, 94_685, 105_206),
        "hepmass": (315_123, 35_013, 174_987),
        "miniboone": (29_556, 3_284, 3_648),
        "bsds300": (1_000_000, 50_000, 250_000),
    }
    assert set(rows) == set(maf.BENCHMARKS) <= set(flowzoo.data.list_datasets())
    for name, sizes in rows.items():
        info = dataset_info(name)
        assert (info.event_shape, tuple(info.splits.values())) == ((COLUMNS[name],), sizes)
        assert maf.BENCHMARKS[name].info == info
        train, validation, test = sizes
        if name not in ("hepmass", "bsds300"):  # Tenths of what one file holds.
            assert test == int(0.1 * sum(sizes))
        if name != "bsds300":
            assert validation == int(0.1 * (train + validation))


@pytest.mark.parametrize("name", list(maf.BENCHMARKS))
def test_a_benchmark_is_downloaded_checked_prepared_and_loaded(name, register, tmp_path):
    small = register(small_benchmark(name))
    for split, rows in zip(("train", "validation", "test"), SMALL_ROWS[name], strict=True):
        dataset = flowzoo.data.load(small, split, batch_size=500, shuffle=False, data_dir=tmp_path)
        (x,) = dataset.as_numpy_iterator()
        assert (x.shape, x.dtype) == ((rows, SMALL_COLUMNS[name]), np.float32)
        assert np.isfinite(x).all()
    # It is prepared once; the download is not read again.
    flowzoo.data.load(small, "train[:10]", data_dir=tmp_path, download=False)
    assert not list((tmp_path / "downloads").glob("tmp*"))


def test_the_prepared_rows_are_in_the_papers_order(small_archive, register, tmp_path):
    small = register(small_benchmark("bsds300"))
    for split, raw in small_archive.raw["bsds300"].items():
        dataset = flowzoo.data.load(small, split, batch_size=500, shuffle=False, data_dir=tmp_path)
        np.testing.assert_array_equal(next(iter(dataset)), raw)


def test_an_archive_with_a_wrong_md5_is_not_opened(register, tmp_path, monkeypatch):
    monkeypatch.setattr(maf, "_extract", None)
    small = register(small_benchmark("power"), md5="0" * 32)
    with pytest.raises(WrongDataError, match=r"has the MD5 .* has 0{32}.*Delete the file"):
        flowzoo.data.load(small, data_dir=tmp_path)


def test_rows_that_are_not_the_published_ones_are_not_kept(register, tmp_path):
    wrong = small_benchmark("miniboone", splits={"train": 64, "validation": 8, "test": 8})
    small = register(wrong)
    with pytest.raises(WrongDataError, match=r"'train': \(65, 43\).*published ones.*'train': \(64, 43\)"):
        flowzoo.data.load(small, data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="not prepared"):
        flowzoo.data.load(small, data_dir=tmp_path, download=False)


def test_a_file_missing_from_the_archive_is_named(register, tmp_path):
    small = register(replace(small_benchmark("power"), members=("power/rows.npy",)))
    with pytest.raises(WrongDataError, match=r"lacks data/power/rows\.npy"):
        flowzoo.data.load(small, data_dir=tmp_path)


def test_without_a_network_the_error_names_the_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"power is not prepared in {tmp_path}/power"):
        flowzoo.data.load("power", data_dir=tmp_path, download=False)
