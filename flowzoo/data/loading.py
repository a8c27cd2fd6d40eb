"""`load`: makes a `tf.data.Dataset` from a name or a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from flowzoo.data import files
from flowzoo.data.catalog import list_datasets, open_dataset
from flowzoo.data.formats.columns import Columns
from flowzoo.data.source import Source
from flowzoo.data.split import Missing, RowFilter, check_split, column_means
from flowzoo.utils.messages import Argument, Message

if TYPE_CHECKING:
    import tensorflow as tf


def load(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    split: str | None = "train",
    *,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    seed: int | None = 0,
    epoch: tf.Variable | None = None,
    cache: bool | Literal["auto"] = "auto",
    drop_remainder: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    columns: Columns = None,
    labels: bool | str = False,
    missing: Missing = "error",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> tf.data.Dataset:
    """Loads raw rows: a data set of the catalog, or files of your own.

    Rows are never scaled: images are uint8 `[height, width, channels]`, everything else is float32. float32
    holds whole numbers up to 16,777,216 exactly. Larger ones (ids, seconds since 1970) are rounded, and
    `Flow.adapt` warns.

    Files end in .npy, .npz, .csv, .csv.gz, .parquet, .tfrecord or .tfrecord.gz. They are split by a
    hash of each row's values (`flowzoo.data.split.row_fractions`). A row is in the same split in any
    file and in any order, and equal rows share a split, so that none leaks from "train" into "test".
    Other columns make other rows and therefore other splits.

    Args:
        source: A name of `list_datasets()`, a path, a glob, or a list of paths.
        split: "train", "validation", "test"; "all" or None for all rows. For catalog names also a slice,
            "train[:1000]" or "train[90%:]"; for TensorFlow Datasets any of its split expressions.
        batch_size: Rows in a batch; None gives single rows.
        shuffle: Whether each epoch has a new order. None shuffles only "train" and its slices.
        seed: Seed of the orders. Equal seeds give equal orders, epoch by epoch; the seeds of
            `tf.random.set_seed`, if used, must be equal too. None gives another order each time.
        epoch: Variable that holds the number of the epoch, an int64. The order is then a function of it and
            of the seed, so that a resumed training sees the same rows as an uninterrupted one.
        cache: Whether to keep the rows in memory; "auto" does so if they need at most 512 MiB. Other
            data are streamed in blocks, through a shuffle pool of 64 MiB.
        drop_remainder: Whether to drop a smaller last batch.
        data_dir: Data directory of TensorFlow Datasets; None for its default.
        download: Whether missing data may be downloaded. False is the offline mode.
        columns: For files: the columns to keep, by name (csv, parquet, tfrecord) or position (npy,
            npz, csv, parquet); for .npz also the name of the array to read.
        labels: True gives (row, label) pairs. The labels are the catalog's classes, the array "y" of a
            .npz, or the feature "label" of a TFRecord. A string names another array or feature, or the
            label column of a table. Labels are int64.
        missing: For files: how to treat missing and infinite values. "error" refuses them, "drop" drops their
            rows. "mean" replaces a missing value by the mean of its column in "train", for every split (one
            more pass over the files), and refuses infinite values. The flow does not keep the means: a served
            row with NaN is still not valid. All filled values of a column are equal, which the density
            learns as a spike, so prefer "drop" if it costs few rows.
        validation_fraction: For files: fraction of the rows in "validation".
        test_fraction: For files: fraction of the rows in "test".

    Returns:
        A dataset with known cardinality and static event shape.

    Raises:
        FileNotFoundError: If a file is missing, or data are not prepared and `download` is False.
        RuntimeError: If data cannot be downloaded.
        TypeError: If `source` is neither a name nor paths.
        ValueError: If a name, split or column is unknown, the data are not rows of numbers, values are
            missing and `missing` is "error", or no rows are left.

    Example:
        >>> import flowzoo
        >>> dataset = flowzoo.data.load("two_moons", "test", batch_size=500)
        >>> dataset.element_spec, int(dataset.cardinality())
        (TensorSpec(shape=(None, 2), dtype=tf.float32, name=None), 20)
    """
    _check_options(batch_size, cache, missing)
    if not files.is_path(source) or source in list_datasets():
        rows = _open_name(str(source), split, columns, labels, data_dir, download)
    else:
        rows = _open_files(source, split, columns, labels, missing, validation_fraction, test_fraction)
    # Imported only now, so that a mistake above is reported without waiting for TensorFlow.
    from flowzoo.data import pipeline

    collected = pipeline.collect(rows, cache)
    if collected.rows < (batch_size if batch_size and drop_remainder else 1):
        raise ValueError(_too_few(source, split, collected.rows, batch_size))
    return pipeline.make_dataset(
        rows,
        collected,
        batch_size=batch_size,
        shuffle=str(split).startswith("train") if shuffle is None else shuffle,
        seed=seed,
        epoch=epoch,
        drop_remainder=drop_remainder,
    )


def _open_name(
    name: str,
    split: str | None,
    columns: Columns,
    labels: bool | str,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> Source:
    if columns is not None:
        raise ValueError(
            Message(
                "{columns} is for files; {name!r} is a data set of the catalog.",
                columns=Argument("columns"),
                name=name,
            )
        )
    if isinstance(labels, str):
        raise ValueError(f"labels={labels!r} is for files; for {name!r} it must be True or False.")
    directory = None if data_dir is None else Path(data_dir).expanduser()
    return open_dataset(name, split, labels=labels, data_dir=directory, download=download)


def _open_files(
    source: files.Paths,
    split: str | None,
    columns: Columns,
    labels: bool | str,
    missing: Missing,
    validation_fraction: float,
    test_fraction: float,
) -> Source:
    name = check_split(split, validation_fraction, test_fraction)
    paths = files.expand(source)
    opened = files.open_files(paths, columns, labels)
    keep = RowFilter(
        name=str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more files",
        split=name,
        missing=missing,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        columns=opened.columns,
    )
    if missing == "mean":
        train = replace(keep, split="train")(opened.chunks(None))
        keep = replace(keep, fill=column_means(train, opened.columns, keep.name))
    return replace(opened, rows=None, chunks=lambda rng: keep(opened.chunks(rng)))


def _check_options(batch_size: int | None, cache: bool | str, missing: str) -> None:
    if batch_size is not None and (isinstance(batch_size, bool) or int(batch_size) != batch_size):
        raise TypeError(f"batch_size must be an integer or None; got {batch_size!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1 (or None for single rows); got {batch_size}")
    if cache not in (True, False, "auto"):
        raise ValueError(f"cache must be True, False or 'auto'; got {cache!r}")
    if missing not in get_args(Missing):
        raise ValueError(f"missing must be 'error', 'drop' or 'mean'; got {missing!r}")


def _too_few(source: object, split: str | None, rows: int, batch_size: int | None) -> str:
    if rows:
        return (
            f"{source} has {rows} rows in split {split!r}: with batch_size={batch_size} and "
            "drop_remainder=True no batch is left. Choose a smaller batch_size."
        )
    return (
        f"{source} has no rows in split {split!r}. It may be empty, or too small for the split: "
        "see validation_fraction and test_fraction, or load all rows with split='all'."
    )
