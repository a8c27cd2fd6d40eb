"""Readers of CSV and Parquet files, which pyarrow streams in blocks of rows."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from flowzoo.data.formats.columns import Columns, as_list, choose
from flowzoo.data.source import Chunk, Source
from flowzoo.utils.messages import Argument, Message
from flowzoo.utils.suggestions import did_you_mean

DELIMITERS = ",;\t|"
_MISSING = frozenset(pacsv.ConvertOptions().null_values)
_FLOAT32 = np.dtype(np.float32)


def read_csv(path: Path, columns: Columns, labels: bool | str) -> Source:
    """Reads a .csv or .csv.gz file of numbers, separated by commas, semicolons, tabs or bars.

    If the first line holds only numbers, it is a row, and the columns are called "f0", "f1", ...;
    otherwise it is the header. Empty fields, "NA", "NaN" and the like are missing values.

    Args:
        path: The file.
        columns: Columns to keep.
        labels: Name of an integer column to take as labels, or False.

    Returns:
        The source, which reads the file again for each pass.

    Raises:
        ValueError: If the file is empty or not a table, or the columns are not numbers.
    """
    parse, read = _csv_dialect(path)
    schema = _csv_schema(path, parse, read)
    names, label = _numeric_columns(schema, columns, labels, str(path))
    wanted = names if label is None else [*names, label]
    # pyarrow infers types from the first block, but whole numbers there may be fractions further down.
    types = {n: pa.bool_() if pa.types.is_boolean(schema.field(n).type) else pa.float64() for n in wanted}
    convert = pacsv.ConvertOptions(column_types=types, include_columns=wanted)

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        with _errors_named(path), pacsv.open_csv(path, read, parse, convert) as reader:
            yield from _chunks(reader, names, label, str(path))

    return Source((len(names),), _FLOAT32, chunks, None, label is not None, tuple(names))


def read_parquet(path: Path, columns: Columns, labels: bool | str) -> Source:
    """Reads a .parquet file with columns of numbers.

    Args:
        path: The file.
        columns: Columns to keep.
        labels: Name of an integer column to take as labels, or False.

    Returns:
        The source, which reads the file again for each pass.

    Raises:
        ValueError: If the file is not Parquet, or the columns are not numbers.
    """
    with _errors_named(path), pq.ParquetFile(path) as file:
        schema, rows, groups = file.schema_arrow, file.metadata.num_rows, file.num_row_groups
    names, label = _numeric_columns(schema, columns, labels, str(path))
    wanted = names if label is None else [*names, label]

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        order = np.arange(groups) if rng is None else rng.permutation(groups)
        # Pre-buffering would fetch all row groups, so the whole file, before the first row. Without a buffer
        # a row group is fetched at once, and that may be the whole file too.
        with _errors_named(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            batches = file.iter_batches(source.chunk_rows, order.tolist(), columns=wanted)
            yield from _chunks(batches, names, label, str(path))

    source = Source((len(names),), _FLOAT32, chunks, rows, label is not None, tuple(names))
    return source


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Names the damaged file in errors; pyarrow does not."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not encoded in UTF-8 ({error}); convert it.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _csv_dialect(path: Path) -> tuple[pacsv.ParseOptions, pacsv.ReadOptions]:
    """Finds the delimiter of a file, and whether its first line is a header."""
    with _errors_named(path), pa.input_stream(path, compression="detect") as stream:
        head: bytes = stream.read(2**20)
        lines = [line for line in head.splitlines()[:100] if line.strip()]
        line = lines[0].decode("utf-8-sig") if lines else ""
    if not line:
        raise ValueError(f"{path} is empty.")
    delimiter = max(DELIMITERS, key=line.count)
    first = next(csv.reader(io.StringIO(line), delimiter=delimiter))
    has_header = not all(_is_number(field) for field in first)
    return (
        pacsv.ParseOptions(delimiter=delimiter),
        pacsv.ReadOptions(block_size=4 * 2**20, autogenerate_column_names=not has_header),
    )


def _csv_schema(path: Path, parse: pacsv.ParseOptions, read: pacsv.ReadOptions) -> pa.Schema:
    with _errors_named(path), pacsv.open_csv(path, read, parse) as reader:
        return reader.schema


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return field in _MISSING
    return True


def _numeric_columns(
    schema: pa.Schema, columns: Columns, labels: bool | str, name: str
) -> tuple[list[str], str | None]:
    """Names of the chosen columns and of the label column, after a check that all hold numbers."""
    available = schema.names
    if len(set(available)) < len(available):
        twice = next(n for n in available if available.count(n) > 1)
        raise ValueError(f"{name}: two columns are called {twice!r}; rename one.")
    if labels is True:
        raise ValueError(
            f"{name}: name the column that holds the labels with labels='column' (the columns are "
            f"{', '.join(available)}), or pass labels=False."
        )
    label = labels or None
    if label is not None and label not in available:
        raise ValueError(f"{name} has no column {label!r}. {did_you_mean(label, available)}")
    if columns is None:
        chosen = [n for n in available if n != label]
        if chosen[:1] == [""] and len(chosen) > 1:
            warnings.warn(
                f"{name}: the first column has no name, like the row numbers that pandas writes; it is left "
                "out. Name it in the file to use it.",
                stacklevel=2,
            )
            chosen = chosen[1:]
    else:
        chosen = [available[i] for i in choose(as_list(columns), available, name)]
    numeric = [n for n in available if n != label and _is_numeric(schema.field(n).type)]
    for column in chosen if label is None else [*chosen, label]:
        if not _is_numeric(schema.field(column).type):
            raise ValueError(
                Message(
                    "{name}: column {column!r} has the type {type}, not numbers. "
                    + ("Choose others: {columns}." if numeric else "No column holds numbers."),
                    name=name,
                    column=column,
                    type=schema.field(column).type,
                    columns=Argument("columns", numeric),
                )
            )
    return chosen, label


def _is_numeric(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    # A column without any value has the type null. It counts as numbers, all of them missing.
    return pa.types.is_null(kind) or any(check(kind) for check in checks)


def _chunks(
    batches: Iterable[pa.RecordBatch], names: list[str], label: str | None, name: str
) -> Iterator[Chunk]:
    for batch in batches:
        x = np.empty((batch.num_rows, len(names)), np.float32)
        # Numbers too large for float32 become infinite; a later check refuses them and names the column.
        with np.errstate(over="ignore"):
            for i, column in enumerate(names):
                x[:, i] = _floats(batch.column(column))
        yield x, None if label is None else _labels(batch.column(label), label, name)


def _floats(column: pa.Array) -> np.ndarray:
    """float64 values, NaN where the value is missing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    values: np.ndarray = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _labels(column: pa.Array, label: str, name: str) -> np.ndarray:
    values = _floats(column)
    if not np.all(np.mod(values, 1) == 0):
        raise ValueError(
            f"{name}: column {label!r} has missing or fractional values; labels must be integers."
        )
    return values.astype(np.int64)
