"""Selection of rows from users' files: missing values, and splits by a hash of each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flowzoo.data.source import Chunk
from flowzoo.utils.messages import Argument, Message

Missing = Literal["error", "drop", "mean"]

FILE_SPLITS = ("train", "validation", "test", "all")


def row_fractions(x: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each row, which depends only on the row's values.

    Equal rows get equal numbers, in any file, order, process and version. The row's bytes (float32
    little-endian, or uint8, with -0.0 as 0.0 and NaN as 0x7FC00000, padded with zeros to a multiple of 8) are
    read as 64-bit words w, and h <- mix(h ^ w) starting from h = 0, where mix adds
    0x9E3779B97F4A7C15 and applies SplitMix64's finaliser (Steele, Lea and Flood, 2014). The number
    is the upper 53 bits of h, divided by 2^53.

    Args:
        x: `[rows, ...]`, float32 or uint8.

    Returns:
        float64 `[rows]`.

    Example:
        >>> row_fractions(np.array([[1.0, 2.0], [1.0, 2.0]], np.float32)).round(4)
        array([0.2881, 0.2881])
    """
    flat = np.ascontiguousarray(x).reshape(len(x), int(np.prod(x.shape[1:])))
    if flat.dtype != np.uint8:
        flat = (flat + np.float32(0.0)).astype("<f4", copy=False)
        flat[np.isnan(flat)] = np.nan
    raw = flat.view(np.uint8)
    padded = np.zeros((len(raw), -(-raw.shape[1] // 8) * 8), np.uint8)
    padded[:, : raw.shape[1]] = raw
    h = np.zeros(len(raw), np.uint64)
    for word in padded.view("<u8").T:
        h = _mix(h ^ word)
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(h: np.ndarray) -> np.ndarray:
    h = h + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@dataclass(frozen=True)
class RowFilter:
    """Passes on the rows of one split, and refuses, drops or fills rows with missing values.

    Rows whose fraction (see `row_fractions`) is below `test_fraction` are "test", the next
    `validation_fraction` are "validation", the rest are "train". The split is decided before missing values
    are filled in, so the split of a complete row does not depend on `missing`.

    Attributes:
        name: Name of the data in messages.
        split: "train", "validation", "test" or "all".
        missing: "error", "drop" or "mean".
        validation_fraction: Fraction of the rows in "validation".
        test_fraction: Fraction of the rows in "test".
        columns: Names of a vector's entries, for messages.
        fill: With "mean", the values that replace NaN, of the event shape; see `column_means`.
    """

    name: str
    split: str
    missing: Missing
    validation_fraction: float
    test_fraction: float
    columns: tuple[str, ...]
    fill: np.ndarray | float = np.nan

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filters one pass.

        Raises:
            ValueError: If values are missing or infinite and `missing` is "error", or infinite and it is
                "mean". It is raised at the end of the pass, when all are counted. The first pass runs before
                any training.
        """
        rows = bad_rows = 0
        bad_values: np.ndarray | int = 0
        for x, labels in chunks:
            good = ~np.isinf(x) if self.missing == "mean" else np.isfinite(x)
            rows += len(x)
            if not good.all():
                bad_values = bad_values + (~good).sum(axis=0)
                whole = good.reshape(len(x), -1).all(axis=1)
                bad_rows += len(x) - int(whole.sum())
                x, labels = x[whole], None if labels is None else labels[whole]
            if self.split != "all":
                kept = self._kept(row_fractions(x))
                x, labels = x[kept], None if labels is None else labels[kept]
            if self.missing == "mean":
                x = np.where(np.isnan(x), self.fill, x).astype(x.dtype, copy=False)
            yield x, labels
        if bad_rows and self.missing != "drop":
            raise ValueError(self._complaint(rows, bad_rows, np.ravel(bad_values)))

    def _kept(self, fractions: np.ndarray) -> np.ndarray:
        bounds = (0.0, self.test_fraction, self.test_fraction + self.validation_fraction, 1.0)
        part = ("test", "validation", "train").index(self.split)
        return (fractions >= bounds[part]) & (fractions < bounds[part + 1])

    def _complaint(self, rows: int, bad_rows: int, bad_values: np.ndarray) -> str:
        counts = [
            f"{name!r} ({count})" for name, count in zip(self.columns, bad_values, strict=False) if count
        ]
        where = " in column " + ", ".join(counts[:5]) if counts else ""
        if len(counts) > 5:
            where += f" and {len(counts) - 5} more columns"
        if self.missing == "mean":
            return Message(
                "{name}: {bad} of {rows} rows have infinite values{where}, or values too large for float32; "
                "these are not missing, so they are not filled in. Correct them, or drop these rows with "
                "{drop}.",
                name=self.name,
                bad=bad_rows,
                rows=rows,
                where=where,
                drop=Argument("missing", "drop"),
            )
        return Message(
            "{name}: {bad} of {rows} rows have missing or infinite values{where}. Fill them in, choose other "
            "columns with {columns}, drop these rows with {drop}, or fill in the column's mean with {mean}.",
            name=self.name,
            bad=bad_rows,
            rows=rows,
            where=where,
            columns=Argument("columns"),
            drop=Argument("missing", "drop"),
            mean=Argument("missing", "mean"),
        )


def column_means(chunks: Iterator[Chunk], columns: tuple[str, ...], name: str) -> np.ndarray:
    """The mean of each column over its present values, of the event shape.

    The mean of whole numbers is rounded to one: a column with one other value would no longer be discrete.

    Args:
        chunks: The rows, with NaN for missing values.
        columns: Names of a vector's entries, for messages.
        name: Name of the data in messages.

    Raises:
        ValueError: If a column has no value.
    """
    count: np.ndarray | int = 0
    total: np.ndarray | float = 0.0
    whole: np.ndarray | bool = True
    for x, _ in chunks:
        whole = whole & (np.isnan(x) | (x == np.round(x))).all(axis=0)
        count = count + (~np.isnan(x)).sum(axis=0)
        total = total + np.nansum(x, axis=0, dtype=np.float64)
    empty = np.flatnonzero(np.ravel(count) == 0)
    if len(empty):
        found = f"column {columns[empty[0]]!r}" if columns else "a column"
        raise ValueError(
            Message(
                "{name}: {found} has no value in the training rows. Choose other columns with {columns}.",
                name=name,
                found=found,
                columns=Argument("columns"),
            )
        )
    means = total / count
    rounded: np.ndarray = np.asarray(np.where(whole, np.round(means), means), np.float32)
    return rounded


def check_split(split: str | None, validation_fraction: float, test_fraction: float) -> str:
    """Checks the split and the split sizes that a user gives for a file.

    Returns:
        The split's name; "all" for None.

    Raises:
        ValueError: If the split is unknown, or the fractions are not in [0, 1) or leave no training rows.
    """
    name = "all" if split is None else split
    if name not in FILE_SPLITS:
        raise ValueError(
            f"split={split!r}: a file has the splits {', '.join(map(repr, FILE_SPLITS))}; their "
            "sizes are set by validation_fraction and test_fraction."
        )
    for key, value in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{key}_fraction must be in [0, 1); got {value}")
    if validation_fraction + test_fraction >= 1.0:
        raise ValueError(
            f"validation_fraction + test_fraction = {validation_fraction + test_fraction:g} leaves "
            "no rows for 'train'; their sum must be below 1."
        )
    return name
