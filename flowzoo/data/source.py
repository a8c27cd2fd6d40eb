"""`Source`: rows of any origin that can be read repeatedly, one chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Rows, and their labels if they were requested.
Chunk = tuple[np.ndarray, np.ndarray | None]

CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Source:
    """Rows that can be read repeatedly, one chunk at a time.

    Attributes:
        event_shape: Shape of one row.
        dtype: uint8 (images) or float32.
        chunks: Starts a pass over all rows. Given a random generator, it may visit the blocks of the data in
            a random order. It need not, because the pipeline shuffles as well.
        rows: Number of rows; None if it takes a pass to count them.
        labelled: Whether chunks carry labels.
        columns: Names of a vector's entries, if they have names.
    """

    event_shape: tuple[int, ...]
    dtype: np.dtype
    chunks: Callable[[np.random.Generator | None], Iterator[Chunk]]
    rows: int | None = None
    labelled: bool = False
    columns: tuple[str, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.event_shape)) * self.dtype.itemsize

    @property
    def chunk_rows(self) -> int:
        """Rows in a chunk of about `CHUNK_BYTES`."""
        return max(1, CHUNK_BYTES // max(1, self.row_bytes))


def array_source(x: np.ndarray, labels: np.ndarray | None = None, columns: Sequence[str] = ()) -> Source:
    """Makes a source of rows in memory.

    Args:
        x: `[rows, *event_shape]`, uint8 or float32.
        labels: `[rows]` integers, or None.
        columns: Names of a vector's entries.

    Returns:
        The source.

    Example:
        >>> array_source(np.zeros((10, 2), np.float32)).event_shape
        (2,)
    """

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        for start, stop in blocks(len(x), source.chunk_rows, rng):
            yield x[start:stop], None if labels is None else labels[start:stop]

    source = Source(x.shape[1:], x.dtype, chunks, len(x), labels is not None, columns=tuple(columns))
    return source


def blocks(rows: int, size: int, rng: np.random.Generator | None) -> Iterator[tuple[int, int]]:
    """Start and stop of consecutive blocks of rows, in a random order if `rng` is given."""
    starts = np.arange(0, rows, size)
    if rng is not None:
        rng.shuffle(starts)
    for start in starts.tolist():
        yield start, min(start + size, rows)
