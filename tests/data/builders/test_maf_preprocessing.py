"""Each benchmark's preprocessing against a few lines of NumPy that follow the MAF paper's code."""

import tarfile
from collections import Counter

import numpy as np
import pytest

from flowzoo.data.builders import maf_preprocessing


@pytest.fixture(scope="module")
def folder(small_archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("extracted")
    with tarfile.open(small_archive.url.removeprefix("file://")) as archive:
        archive.extractall(path, filter="data")
    return path / "data"


def check(splits, train, validation, test):
    assert list(splits) == ["train", "validation", "test"]
    for found, wanted in zip(splits.values(), (train, validation, test), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_power(folder, small_archive):
    data = small_archive.raw["power"].copy()
    rng = np.random.RandomState(42)
    order = np.arange(60)
    rng.shuffle(order)
    active, _, voltage, _, *meters, time = data[order].T
    voltage = voltage + 0.01 * rng.rand(60)
    active = active + 0.001 * rng.rand(60)
    meters = np.stack(meters, axis=1) + rng.rand(60, 3)
    x = np.column_stack([active, voltage, meters, time])
    x = (x - x[:54].mean(0)) / x[:54].std(0)
    check(maf_preprocessing.power(folder), x[:49], x[49:54], x[54:])


def test_gas(folder, small_archive):
    _, data = small_archive.raw["gas"]
    x = data[:, 3:]
    # 0 is dropped because of 5, 8 because of 9, then 9 because of 10, although 8 and 10 could both stay.
    # 1 and 7 are opposites.
    correlation = np.corrcoef(x.T)
    assert {(i, j) for i in range(16) for j in range(i) if correlation[i, j] > 0.98} == {
        (5, 0),
        (9, 8),
        (10, 9),
    }
    assert correlation[7, 1] < -0.98
    x = np.delete(x, [0, 8, 9], axis=1)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) * 200 / 199)
    check(maf_preprocessing.gas(folder), x[:162], x[162:180], x[180:])


def test_hepmass(folder, small_archive):
    train, test = small_archive.raw["hepmass"]
    train, test = train[train[:, 0] == 1, 1:], test[test[:, 0] == 1, 1:-1]
    # The smallest value of columns 3 and 20 recurs. In column 8 another value recurs, but not the smallest.
    recurring = [i for i, column in enumerate(train.T) if sorted(Counter(column).items())[0][1] > 5]
    assert recurring == [3, 20]
    assert max(Counter(train[:, 8]).values()) > 5
    train, test = np.delete(train, recurring, 1), np.delete(test, recurring, 1)
    mean, std = train.mean(0), np.sqrt(train.var(0) * 60 / 59)
    train, test = (train - mean) / std, (test - mean) / std
    check(maf_preprocessing.hepmass(folder), train[:54], train[54:], test)


def test_miniboone(folder, small_archive):
    x = small_archive.raw["miniboone"]
    x = (x - x[:72].mean(0)) / x[:72].std(0)
    check(maf_preprocessing.miniboone(folder), x[:65], x[65:72], x[72:])


def test_bsds300(folder, small_archive):
    splits = maf_preprocessing.bsds300(folder)
    check(splits, *small_archive.raw["bsds300"].values())
    assert {rows.dtype for rows in splits.values()} == {np.dtype(np.float32)}
