"""Readers of NumPy files in chunks: .npy through a memory map, .npz from its zip archive."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from flowzoo.data.formats.columns import Columns, choose
from flowzoo.data.source import Chunk, Source, array_source, blocks
from flowzoo.utils.messages import Argument, Message
from flowzoo.utils.suggestions import did_you_mean

DATA_KEYS = ("X", "x")
LABEL_KEYS = ("y", "Y", "label", "labels")


def read_npy(path: Path, columns: Columns, labels: bool | str) -> Source:
    """Reads a .npy file: `[rows, columns]`, `[rows]`, or images `[rows, height, width, channels]`.

    Columns are named by their position, "0" to "D-1".

    Args:
        path: The file.
        columns: Columns to keep.
        labels: Must be False: a .npy file holds one array.

    Returns:
        The source, which maps the file again for each chunk.

    Raises:
        ValueError: If the file holds anything else, or lacks a column.
    """
    if labels is not False:
        raise ValueError(
            f"{path}: a .npy file holds no labels. Save both in one archive with "
            "np.savez(path, X=rows, y=labels), or pass labels=False."
        )
    array = _map(path)
    names, chosen = _layout(array, columns, str(path))
    dtype, rows = _row_dtype(array), len(array)
    event_shape = (len(chosen),) if array.ndim < 4 else array.shape[1:]
    del array  # Mapped pages count as memory in use until the map is deleted.

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        for start, stop in blocks(rows, source.chunk_rows, rng):
            yield _cast(_map(path)[start:stop], chosen, dtype), None

    source = Source(event_shape, dtype, chunks, rows, columns=tuple(names[i] for i in chosen))
    return source


def read_npz(path: Path, columns: Columns, labels: bool | str) -> Source:
    """Reads a .npz archive: its only array, or the one called "X" or "x".

    Args:
        path: The file.
        columns: Columns to keep, as in a .npy file; or the key of the array to read.
        labels: True takes the array called "y" (or "Y", "label", "labels") as labels; a string
            names another array.

    Returns:
        The source, which reads the archive again for each pass. It keeps the labels in memory, and also
        an array that was saved in Fortran order.

    Raises:
        ValueError: If there is no such array, or it does not hold rows of numbers.
    """
    y = None
    if isinstance(columns, list | tuple) and len(columns) == 1:  # The command line passes a key this way.
        (columns,) = columns
    with _opened(path) as archive:
        key = _data_key(archive.files, columns, str(path))
        with _member(archive, key) as file:
            shape, by_columns, dtype = _header(file)
        if labels is not False:
            y = _integers(archive[_label_key(archive.files, labels, str(path))], str(path))
        x = archive[key] if by_columns or dtype.hasobject else np.broadcast_to(np.zeros((), dtype), shape)
    if columns == key:
        columns = None
    names, chosen = _layout(x, columns, f"{path}, array {key!r}")
    if y is not None and y.shape != (len(x),):
        raise ValueError(f"{path} holds {len(x)} rows but labels of shape {y.shape}; expected one per row.")
    row_dtype, kept = _row_dtype(x), tuple(names[i] for i in chosen)
    if by_columns:
        return array_source(_cast(x, chosen, row_dtype), y, kept)

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        with _opened(path) as archive, _member(archive, key) as file:
            _header(file)
            for start, stop in blocks(len(x), source.chunk_rows, None):
                size = (stop - start, *shape[1:])
                block = np.frombuffer(file.read(int(np.prod(size)) * dtype.itemsize), dtype).reshape(size)
                yield _cast(block, chosen, row_dtype), None if y is None else y[start:stop]

    event_shape = (len(chosen),) if x.ndim < 4 else x.shape[1:]
    source = Source(event_shape, row_dtype, chunks, len(x), y is not None, kept)
    return source


# What damaged headers and archives make of NumPy, zipfile and zlib.
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, OSError, KeyError, SyntaxError, TypeError,
    MemoryError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Opens an archive; errors name the file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a readable .npz archive: {error!r}") from error
    except ValueError as error:
        raise _without_pickle(path, error) from error


def _member(archive: np.lib.npyio.NpzFile, key: str) -> IO[bytes]:
    return archive.zip.open(f"{key}.npy")  # type: ignore[union-attr]  # None once it is closed


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads shape, whether the array is in Fortran order, and dtype; leaves the file at the first value."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    return shape, by_columns and len(shape) > 1, dtype


def _map(path: Path) -> np.ndarray:
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a readable .npy file: {error!r}") from error
    except ValueError as error:
        raise _without_pickle(path, error) from error


def _without_pickle(path: Path, error: ValueError) -> ValueError:
    """Replaces NumPy's error for an object array, which does not say what to do."""
    if "pickle" not in str(error).lower() and "python object" not in str(error).lower():
        return error if str(path) in str(error) else ValueError(f"{path}: {error}")
    return ValueError(
        f"{path} holds Python objects, or is not a NumPy file. Reading it could run code from the "
        "file, so it is refused. Save plain numbers: "
        "np.save(path, np.asarray(rows, dtype=np.float32))."
    )


def _layout(array: np.ndarray, columns: Columns, name: str) -> tuple[list[str], list[int]]:
    """Checks that an array holds rows; returns the names of its columns and the chosen positions."""
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has the type {array.dtype}; expected real numbers. "
            "Save np.asarray(rows, dtype=np.float32)."
        )
    if array.ndim not in (1, 2, 4):
        raise ValueError(
            f"{name} has the shape {array.shape}; expected rows [rows, columns] or images "
            "[rows, height, width, channels] (grey images need a channel axis: images[..., None])."
        )
    if array.ndim == 4:
        if columns is not None:
            raise ValueError(
                Message(
                    "{name} holds images of shape {shape}; {columns} is for tables.",
                    name=name,
                    shape=array.shape[1:],
                    columns=Argument("columns"),
                )
            )
        return [], []
    names = [str(i) for i in range(1 if array.ndim == 1 else array.shape[1])]
    return names, choose(columns, names, name)


def _row_dtype(array: np.ndarray) -> np.dtype:
    return np.dtype(np.uint8 if array.dtype == np.uint8 and array.ndim == 4 else np.float32)


def _cast(block: np.ndarray, chosen: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Copies the chosen columns into memory."""
    if block.ndim == 1:
        block = block[:, None]
    if block.ndim == 2 and list(chosen) != list(range(block.shape[1])):
        block = block[:, chosen]
    # Numbers too large for float32 become infinite; a later check refuses them and names the column.
    with np.errstate(over="ignore"):
        return np.array(block, dtype=dtype, order="C")


def _data_key(keys: Sequence[str], columns: Columns, name: str) -> str:
    if isinstance(columns, str) and columns in keys:
        return columns
    named = [key for key in DATA_KEYS if key in keys]
    rest = [key for key in keys if key not in LABEL_KEYS]
    if named or len(rest) == 1:
        return (named or rest)[0]
    raise ValueError(
        Message(
            "{name} has no array called 'X' or 'x'. Name the array to read with {columns}. "
            "The arrays of the file: {keys}.",
            name=name,
            keys=", ".join(map(repr, keys)) or "none",
            columns=Argument("columns", (rest or list(keys) or ["X"])[0]),
        )
    )


def _label_key(keys: Sequence[str], labels: bool | str, name: str) -> str:
    if isinstance(labels, str):
        if labels in keys:
            return labels
        raise ValueError(f"{name} has no array {labels!r}. {did_you_mean(labels, keys)}")
    for key in LABEL_KEYS:
        if key in keys:
            return key
    raise ValueError(
        f"{name} has no labels: none of its arrays ({', '.join(map(repr, keys))}) is called "
        f"{' or '.join(map(repr, LABEL_KEYS))}. Name one with labels='key', or pass labels=False."
    )


def _integers(labels: np.ndarray, name: str) -> np.ndarray:
    whole = labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and bool(np.all(np.mod(labels, 1) == 0)))
    if not whole:
        raise ValueError(f"{name}: labels must be integers; got values of type {labels.dtype}.")
    return labels.astype(np.int64)
