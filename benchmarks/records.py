"""Measured rows as CSV files: what a benchmark writes, and what it and others read again."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from flowzoo.storage import files


def read(path: Path) -> list[dict[str, str]]:
    """What was measured before; nothing if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[dict]) -> None:
    """Replaces the file; columns stand in the order in which rows have them first."""
    rows = list(rows)
    with files.replacing(path) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(rows)
