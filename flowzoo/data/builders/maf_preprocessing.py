"""Preprocessing of the MAF benchmarks in NumPy, from the raw files to train, validation and test rows.

The steps are those of Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation
(2017, https://arxiv.org/abs/1705.07057), supplement, as implemented in their code (github.com/gpapamak/maf,
`datasets/`). They start from the files of https://zenodo.org/records/1161203. They are reproduced exactly,
oddities included, because published figures depend on them. GAS is standardised with the moments of all
rows, test rows included; HEPMASS with those of train and validation. Both use the n - 1 variance. POWER and
MINIBOONE are standardised with the moments of train and validation and the n variance. BSDS300 is left as it
is.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow.csv as pacsv

from flowzoo.data.builders.frame_pickle import read_frame

Splits = dict[str, np.ndarray]


def power(folder: Path) -> Splits:
    """A household's electric power, 6 columns: active power, voltage, three meters, minute of the day.

    Rows are shuffled, reactive power and current are dropped, and uniform noise as wide as a column's
    rounding is added to all columns but the time. One generator draws first the order of the rows, then the
    noise of the voltage, of the active power and of the meters.
    """
    data = np.load(folder / "power/data.npy", allow_pickle=False)
    rng = np.random.RandomState(42)
    rng.shuffle(data)
    data = np.delete(data, [1, 3], axis=1)
    rows = len(data)
    voltage = 0.01 * rng.rand(rows, 1)
    active = 0.001 * rng.rand(rows, 1)
    meters = rng.rand(rows, 3)
    return _standardised(_cut(data + np.hstack([active, voltage, meters, np.zeros((rows, 1))])))


def gas(folder: Path) -> Splits:
    """Chemical sensors in ethylene and carbon monoxide, 8 columns.

    Time and the two concentrations are dropped. Then, while a sensor's correlation with another one exceeds
    0.98, the first such sensor is dropped.
    """
    frame = read_frame(folder / "gas/ethylene_CO.pickle")
    sensors = [np.asarray(v, np.float64) for n, v in frame.items() if n not in ("Meth", "Eth", "Time")]
    data = np.stack(sensors, axis=1)
    while (crowded := (np.corrcoef(data, rowvar=False) > 0.98).sum(axis=1) > 1).any():
        data = np.delete(data, crowded.argmax(), axis=1)
    return _cut((data - data.mean(0)) / data.std(0, ddof=1))


def hepmass(folder: Path) -> Splits:
    """Simulated collisions that make a particle of mass 1000, 21 columns.

    Background rows (label 0) and the label are dropped. The last column of the test file is dropped too,
    since the training file does not have it. So is each column whose smallest value occurs more than five
    times in train and validation. (The original code calls this count the largest one, but it is the count of
    the smallest value.)
    """
    train = _signal(folder / "hepmass/1000_train.csv")
    test = _signal(folder / "hepmass/1000_test.csv")[:, :-1]
    mean, std = train.mean(0), train.std(0, ddof=1)
    train, test = (train - mean) / std, (test - mean) / std
    smooth = (train == train.min(0)).sum(0) <= 5
    train, test = train[:, smooth], test[:, smooth]
    train, validation = _without_tail(train)
    return {"train": train, "validation": validation, "test": test}


def miniboone(folder: Path) -> Splits:
    """Electron and muon neutrinos, 43 columns.

    The archive's file no longer contains the outliers (first value below -100) and the columns whose smallest
    value recurs.
    """
    return _standardised(_cut(np.load(folder / "miniboone/data.npy", allow_pickle=False)))


def bsds300(folder: Path) -> Splits:
    """Patches of 8 x 8 grey pixels of photographs, 63 columns.

    The archive's file holds the final splits: dequantised, scaled to 0..1, with each patch's mean subtracted
    and the last pixel dropped, since it follows from the others.
    """
    with h5py.File(folder / "BSDS300/BSDS300.hdf5", "r") as file:
        return {split: file[split][:] for split in ("train", "validation", "test")}


def _signal(path: Path) -> np.ndarray:
    """The rows with label 1, without the label. Columns that the header does not name are left out."""
    with open(path) as file:
        columns = len(file.readline().split(","))
    options = pacsv.ReadOptions(skip_rows=1, autogenerate_column_names=True)
    table = pacsv.read_csv(path, options)
    data = np.stack([table.column(i).to_numpy() for i in range(columns)], axis=1).astype(np.float64)
    return data[data[:, 0] == 1, 1:]


def _cut(data: np.ndarray) -> Splits:
    """Splits off the last tenth as test, then the last tenth of the rest as validation."""
    rest, test = _without_tail(data)
    train, validation = _without_tail(rest)
    return {"train": train, "validation": validation, "test": test}


def _without_tail(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows without the last tenth (rounded down), and that tenth."""
    start = len(data) - int(0.1 * len(data))
    return data[:start], data[start:]


def _standardised(splits: Splits) -> Splits:
    """Standardises to mean 0 and variance 1 over train and validation together."""
    both = np.concatenate([splits["train"], splits["validation"]])
    mean, std = both.mean(0), both.std(0)
    return {split: (rows - mean) / std for split, rows in splits.items()}
