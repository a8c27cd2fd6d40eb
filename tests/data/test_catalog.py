"""The catalog: names, infos, split expressions, registration."""

import subprocess
import sys

import numpy as np
import pytest

import flowzoo.data
from flowzoo.data.catalog import (
    DatasetInfo,
    OpenRequest,
    open_dataset,
    split_source,
    unregister_dataset,
)

ROWS = {"train": 10, "test": 4}
INFO = DatasetInfo("counting", "0, 1, ...", (1,), "float32", 2, ROWS, "CC0", "here")


def load_part(part):
    x = np.arange(ROWS[part], dtype=np.float32)[:, None] + (100 if part == "test" else 0)
    return x, (x[:, 0] % 2).astype(np.int64)


def rows(split, labels=False):
    source = split_source(OpenRequest(INFO, split, labels, None, False), load_part)
    chunks = list(source.chunks(None))
    return [row for x, _ in chunks for row in x[:, 0].astype(int).tolist()], source


@pytest.fixture
def counting():
    flowzoo.data.register_dataset(INFO)(lambda request: split_source(request, load_part))
    yield
    unregister_dataset("counting")


def test_the_catalog_is_listed_and_described():
    names = flowzoo.data.list_datasets()
    assert {"mnist", "cifar10", "digits", "two_moons"} <= set(names)
    assert flowzoo.data.list_datasets("*moons") == ["two_moons"]
    for name in names:
        info = flowzoo.data.dataset_info(name)
        assert info.name == name
        assert info.summary.endswith(".")
        assert info.licence
        assert info.source
        assert {"train", "validation", "test"} <= set(info.splits)
        assert info.dtype == ("uint8" if len(info.event_shape) == 3 else "float32")


def test_listing_and_describing_need_no_tensorflow(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    code = (
        "import sys, flowzoo.data as d; d.list_datasets(); d.dataset_info('mnist');"
        f"d.describe_file(r'{tmp_path}/a.csv');"
        "d.toy.entropy('rings'); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", list(range(10))),
        ("test", [100, 101, 102, 103]),
        ("all", [*range(10), 100, 101, 102, 103]),
        ("train[:3]", [0, 1, 2]),
        ("train[-2:]", [8, 9]),
        ("train[50%:]", [5, 6, 7, 8, 9]),
        ("train[20%:40%]", [2, 3]),
        ("train[:]", list(range(10))),
    ],
)
def test_split_expressions(split, expected):
    assert rows(split)[0] == expected


@pytest.mark.parametrize("split", ["valid", "train[3]", "train[1:2:3]", "", "train[:2]+test"])
def test_unknown_splits_are_refused_with_the_known_ones(split):
    with pytest.raises(ValueError, match=r"'train' \(10\), 'test' \(4\)"):
        rows(split)


def test_labels_are_sliced_with_the_rows():
    _, source = rows("all", labels=True)
    ((x, labels),) = source.chunks(None)
    assert source.labelled
    np.testing.assert_array_equal(labels, x[:, 0] % 2)


def test_registering(counting):
    assert "counting" in flowzoo.data.list_datasets()
    source = open_dataset("counting", None, labels=False, data_dir=None, download=False)
    assert source.rows == 14
    flowzoo.data.register_dataset(INFO)(lambda request: split_source(request, load_part))
    other = DatasetInfo("counting", "Other.", (2,), "float32", None, ROWS, "CC0", "there")
    with pytest.raises(ValueError, match="taken"):
        flowzoo.data.register_dataset(other)(lambda request: split_source(request, load_part))


def test_unknown_names_get_the_nearest_as_suggestions():
    with pytest.raises(ValueError, match=r"'mnist'.*\./rows\.csv"):
        flowzoo.data.dataset_info("mnits")
