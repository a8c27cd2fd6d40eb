"""Readers of users' files, one module for each family of formats; a reader gives a `Source`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from flowzoo.data.formats.columns import Columns
from flowzoo.data.source import Source

Reader = Callable[[Path, Columns, "bool | str"], Source]

# The end of a file's name, the format, its module, and the module's reader.
_FORMATS = (
    (r"\.npy", "npy", "arrays", "read_npy"),
    (r"\.npz", "npz", "arrays", "read_npz"),
    (r"\.csv(\.gz)?", "csv", "tables", "read_csv"),
    (r"\.parquet", "parquet", "tables", "read_parquet"),
    (r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?", "tfrecord", "tfrecord", "read_tfrecord"),
)
EXTENSIONS = (".npy", ".npz", ".csv", ".csv.gz", ".parquet", ".tfrecord", ".tfrecord.gz")


def format_of(path: str) -> str | None:
    """The format that a path's ending means; None if none of ours."""
    for pattern, name, _, _ in _FORMATS:
        if re.search(pattern + "$", path.lower()):
            return name
    return None


def reader_of(path: Path) -> Reader:
    """The function that reads a file; its module (pyarrow, TensorFlow) is imported now.

    Raises:
        ValueError: If the ending is none of ours.
    """
    for _, name, module, reader in _FORMATS:
        if format_of(path.name) == name:
            loaded: Reader = getattr(importlib.import_module(f"flowzoo.data.formats.{module}"), reader)
            return loaded
    raise ValueError(f"{path}: cannot read this kind of file; it must end in {', '.join(EXTENSIONS)}.")
