"""Writers of scores to .csv, .npy and .parquet, batch by batch, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

Batches = Iterator[dict[str, np.ndarray]]

ENDINGS = (".csv", ".npy", ".parquet")


def check_ending(path: Path, endings: tuple[str, ...] = ENDINGS) -> None:
    """Checks that a path has a supported extension and is not a directory.

    Raises:
        ValueError: If not.
    """
    if path.suffix.lower() not in endings:
        raise ValueError(f"--out {path}: the name must end in {', '.join(endings)}.")
    if path.is_dir():
        raise ValueError(f"--out {path} is a directory; name a file.")


def write_table(path: Path, batches: Batches, show: Callable[[int], None]) -> tuple[int, int]:
    """Writes columns batch by batch to a temporary file, and renames it when it is complete.

    Args:
        path: Ends in one of `ENDINGS`.
        batches: Columns of equal length; "valid" is one of them.
        show: Called with the number of rows so far.

    Returns:
        The number of rows, and the number of rows that are not valid.
    """
    from flowzoo.storage import files

    rows = bad = 0

    def counted() -> Batches:
        nonlocal rows, bad
        for batch in batches:
            rows += len(batch["valid"])
            bad += int((~batch["valid"]).sum())
            yield batch
            show(rows)
        if rows == 0:
            raise ValueError("There are no rows to score.")

    write = {".csv": _write_csv, ".npy": _write_npy, ".parquet": _write_parquet}
    with files.replacing(path) as temporary:
        write[path.suffix.lower()](temporary, counted())
    return rows, bad


def _write_csv(path: Path, batches: Batches) -> None:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    options = pacsv.WriteOptions(include_header=False)
    with open(path, "wb") as file:
        for i, batch in enumerate(batches):
            if i == 0:  # Arrow would put each name in quotes.
                file.write(",".join(batch).encode() + b"\n")
            pacsv.write_csv(pa.table(batch), file, options)


def _write_parquet(path: Path, batches: Batches) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (pa.table(batch) for batch in batches)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _write_npy(path: Path, batches: Batches) -> None:
    """Writes a structured array. NumPy pads the header, so the number of rows can be filled in later."""
    rows, dtype = 0, np.dtype([])
    with open(path, "wb") as file:
        for batch in batches:
            if rows == 0:
                dtype = np.dtype([(name, values.dtype) for name, values in batch.items()])
                _write_header(file, dtype, 0)
            block = np.empty(len(batch["valid"]), dtype)
            for name, values in batch.items():
                block[name] = values
            file.write(block.tobytes())
            rows += len(block)
        file.seek(0)
        _write_header(file, dtype, rows)


def _write_header(file: BinaryIO, dtype: np.dtype, rows: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(file, header)
