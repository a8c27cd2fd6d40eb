"""Users' files: paths, globs and lists of files, opened as one `Source`; describe_file."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.data.formats import format_of, reader_of
from flowzoo.data.formats.columns import Columns
from flowzoo.data.source import Chunk, Source
from flowzoo.utils.messages import Argument, Message

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class FileInfo:
    """Facts about a file, or several files with the same columns, found without reading all of it.

    Attributes:
        files: The files, in the order they are read.
        format: "npy", "npz", "csv", "parquet" or "tfrecord", of the first file.
        rows: Number of rows before any is dropped; None if counting takes a full read (csv, tfrecord).
        columns: Names of a vector's entries; empty for images.
        event_shape: Shape of one row.
        dtype: "uint8" or "float32", as `load` returns it.
    """

    files: tuple[Path, ...]
    format: str
    rows: int | None
    columns: tuple[str, ...]
    event_shape: tuple[int, ...]
    dtype: str


def describe_file(path: Paths, columns: Columns = None) -> FileInfo:
    r"""Describes a file as `load` would read it, without reading all of it.

    Args:
        path: A path, a glob, or a list of paths.
        columns: Columns to keep, by name or position; None for all.

    Returns:
        Its format, columns, event shape and, if that is cheap, its number of rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as rows of numbers, or has no such columns.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
        >>> _ = path.write_text("height,weight\n1.8,80\n1.6,60\n")
        >>> describe_file(path).columns
        ('height', 'weight')
    """
    files = expand(path)
    source = open_files(files, columns)
    return FileInfo(
        files=tuple(files),
        format=str(format_of(files[0].name)),
        rows=source.rows,
        columns=source.columns,
        event_shape=source.event_shape,
        dtype=source.dtype.name,
    )


def is_path(source: Any) -> bool:
    """Whether a user's `source` means files rather than a name of the catalog."""
    if not isinstance(source, str):
        return True
    looks_like_path = any(mark in source for mark in (os.sep, "/", "*", "?", "[", "~"))
    return looks_like_path or format_of(source) is not None or os.path.isfile(source)


def expand(source: Paths) -> list[Path]:
    """The files that a path, a glob or a list of them stands for.

    Raises:
        FileNotFoundError: If one is missing, or a glob matches nothing.
        TypeError: If `source` is none of these.
        ValueError: If the list is empty, or a path is a directory.
    """
    if isinstance(source, str | os.PathLike):
        return _expand_one(source)
    if not isinstance(source, Sequence):
        raise TypeError(
            "source must be a name of the catalog, a path, a glob or a list of paths; got "
            f"{type(source).__name__}."
        )
    files = [file for item in source for file in _expand_one(item)]
    if not files:
        raise ValueError("source is an empty list; give at least one file.")
    return files


def open_files(files: Sequence[Path], columns: Columns = None, labels: bool | str = False) -> Source:
    """Opens files with the same columns as one source.

    Args:
        files: The files, as `expand` returns them.
        columns: Columns to keep, by name or position; None for all.
        labels: Whether to read labels, or the name of their array, feature or column.

    Returns:
        The source, which reads the files one after another.

    Raises:
        ValueError: If a file cannot be read, or differs from the first one.
    """
    first = reader_of(files[0])(files[0], columns, labels)
    sources = [first]
    for file in files[1:]:
        source = reader_of(file)(file, columns, labels)
        if source.columns != first.columns and set(source.columns) == set(first.columns):
            source = reader_of(file)(file, first.columns, labels)  # The same columns in another order.
        _check_alike(file, source, files[0], first)
        sources.append(source)
    if len(sources) == 1:
        return first

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        order = np.arange(len(sources)) if rng is None else rng.permutation(len(sources))
        for i in order:
            yield from sources[i].chunks(rng)

    counts = [source.rows for source in sources]
    known = [count for count in counts if count is not None]
    return replace(first, chunks=chunks, rows=sum(known) if len(known) == len(counts) else None)


def _expand_one(item: str | os.PathLike[str]) -> list[Path]:
    if not isinstance(item, str | os.PathLike):
        raise TypeError(f"Each item of source must be a path; got {type(item).__name__}.")
    path = Path(item).expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a directory; name its files with a glob, '{path}/*.parquet'.")
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise FileNotFoundError(f"No file matches {path} (in {Path.cwd()}).")
        return matches
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise FileNotFoundError(f"There is no file {path.absolute()}.{hint}")


def _check_alike(file: Path, source: Source, first_file: Path, first: Source) -> None:
    if source.columns != first.columns:
        lacks = [c for c in first.columns if c not in source.columns]
        adds = [c for c in source.columns if c not in first.columns]
        raise ValueError(
            Message(
                "{file} has other columns than {first}: it lacks {lacks} and adds {adds}. Choose common "
                "columns with {columns}.",
                file=file,
                first=first_file,
                lacks=lacks or "none",
                adds=adds or "none",
                columns=Argument("columns"),
            )
        )
    if (source.event_shape, source.dtype) != (first.event_shape, first.dtype):
        raise ValueError(
            f"{file} has rows of shape {source.event_shape} ({source.dtype}), {first_file} has rows of "
            f"shape {first.event_shape} ({first.dtype}); they must be the same."
        )
