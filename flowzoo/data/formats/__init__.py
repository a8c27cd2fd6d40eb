"""Readers of users' files, one module for each family of formats; a reader returns a `Source`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from flowzoo.data.formats.columns import Columns
from flowzoo.data.source import Source

Reader = Callable[[Path, Columns, "bool | str"], Source]

# Pattern of the extension, name of the format, its module, and the module's reader.
_FORMATS = (
    (r"\.npy", "npy", "arrays", "read_npy"),
    (r"\.npz", "npz", "arrays", "read_npz"),
    (r"\.csv(\.gz)?", "csv", "tables", "read_csv"),
    (r"\.parquet", "parquet", "tables", "read_parquet"),
    (r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?", "tfrecord", "tfrecord", "read_tfrecord"),
)
EXTENSIONS = (".npy", ".npz", ".csv", ".csv.gz", ".parquet", ".tfrecord", ".tfrecord.gz")


def format_of(path: str) -> str | None:
    """The format that a path's extension stands for; None if it is not supported."""
    for pattern, name, _, _ in _FORMATS:
        if re.search(pattern + "$", path.lower()):
            return name
    return None


def reader_of(path: Path) -> Reader:
    """The function that reads a file; imports its module, which imports pyarrow or TensorFlow.

    Raises:
        ValueError: If the extension is not supported.
    """
    for _, name, module, reader in _FORMATS:
        if format_of(path.name) == name:
            loaded: Reader = getattr(importlib.import_module(f"flowzoo.data.formats.{module}"), reader)
            return loaded
    raise ValueError(f"{path}: cannot read this kind of file; it must end in {', '.join(EXTENSIONS)}.")
