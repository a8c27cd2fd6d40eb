"""Fast reader of TFRecords that differ only in their floats: it reads blocks, TensorFlow single records."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from flowzoo.data.source import Chunk

# A record is its length (8 bytes), the length's checksum (4), the data, and the data's checksum (4).
_HEAD, _TAIL = 12, 4
_CASTAGNOLI = 0x82F63B78

Span = tuple[int, int]


def float_spans(record: bytes, features: Sequence[Sequence[float]]) -> list[Span] | None:
    """Byte ranges of the features' floats in a serialised `tf.train.Example`.

    Args:
        record: The example.
        features: The values of each feature.

    Returns:
        Start and end of each; None if they are ambiguous, for example because two features are equal.
    """
    spans = []
    for values in features:
        floats = np.asarray(values, "<f4").tobytes()
        # A packed field 1: its tag, the number of bytes, the floats.
        field = b"\x0a" + _varint(len(floats)) + floats
        end = record.find(field) + len(field)
        if record.find(field) < 0 or record.find(field, record.find(field) + 1) >= 0:
            return None
        spans.append((end - len(floats), end))
    return spans


def packed_chunks(
    path: Path, record: bytes, spans: Sequence[Span], rows: int
) -> Generator[Chunk, None, int | None]:
    """Reads rows while the records are undamaged and differ from the first one only in the spans.

    Args:
        path: The file, gzipped if its name ends in .gz.
        record: Its first record, undamaged.
        spans: Byte ranges of a row's floats in a record.
        rows: Number of rows to read at a time.

    Yields:
        Chunks of float32 rows ``[rows, columns]``, without labels.

    Returns:
        None at the end of the file; otherwise the number of rows before the first record that does not fit.
    """
    size = _HEAD + len(record) + _TAIL
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    done = 0
    with opener(path, "rb") as file:
        alike = _Alike(np.frombuffer(file.read(size), np.uint8), spans)
        file.seek(0)
        while True:
            try:
                block = file.read(size * rows)
            except (EOFError, OSError, zlib.error):  # a damaged gzip file
                return done
            whole = len(block) // size
            records = np.frombuffer(block, np.uint8, whole * size).reshape(whole, size)
            good = alike(records)
            count = whole if good.all() else int(good.argmin())
            if count:
                parts = [records[:count, _HEAD + start : _HEAD + end] for start, end in spans]
                yield np.concatenate(parts, axis=1).view("<f4").astype(np.float32, copy=False), None
            done += count
            if count < whole or len(block) % size:
                return done
            if not block:
                return None


class _Alike:
    """Finds the records that equal the first one except for their floats, and whose checksum is correct.

    The checksum (CRC-32C) is linear. Each byte that differs from the first record's changes it by a number
    that depends only on the position of the byte and on the XOR of the two bytes.

    Args:
        first: The first record with head and tail.
        spans: Byte ranges in which records may differ.
    """

    def __init__(self, first: np.ndarray, spans: Sequence[Span]):
        self._first = first
        self._floats = np.concatenate([np.arange(_HEAD + start, _HEAD + end) for start, end in spans])
        self._fixed = np.setdiff1d(np.arange(len(first) - _TAIL), self._floats)
        tables = _checksum_tables(len(first) - _HEAD - _TAIL)[self._floats - _HEAD]
        shifted = np.arange(256) ^ first[self._floats, None].astype(np.intp)
        self._tables = np.take_along_axis(tables, shifted, axis=1)
        self._checksum = _checksums(first[None])[0]

    def __call__(self, records: np.ndarray) -> np.ndarray:
        """A bool for each row of ``[records, bytes]``."""
        expected = np.full(len(records), self._checksum)
        for position, table in zip(self._floats, self._tables, strict=True):
            expected ^= table[records[:, position]]
        fixed = (records[:, self._fixed] == self._first[self._fixed]).all(axis=1)
        return fixed & (expected == _checksums(records))


def _checksums(records: np.ndarray) -> np.ndarray:
    """The checksums at the ends of records, without the mask that TFRecord applies to them."""
    stored = np.ascontiguousarray(records[:, -_TAIL:]).view("<u4")[:, 0] - np.uint32(0xA282EAD8)
    return (stored >> np.uint32(17)) | (stored << np.uint32(15))


def _checksum_tables(length: int) -> np.ndarray:
    """Contribution of each byte of a message to the checksum, by its value: uint32 ``[length, 256]``."""
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, last >> 1 ^ np.uint32(_CASTAGNOLI), last >> 1)
    tables = np.empty((length, 256), np.uint32)
    tables[-1] = last
    for i in range(length - 2, -1, -1):
        tables[i] = last[tables[i + 1] & 255] ^ tables[i + 1] >> 8
    return tables


def _varint(number: int) -> bytes:
    """A whole number as protobuf writes it: seven bits a byte, the lowest first."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
