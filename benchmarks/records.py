"""Reads and writes the CSV files of benchmark results."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from flowzoo.storage import files


def read(path: Path) -> list[dict[str, str]]:
    """The results so far; empty if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[dict]) -> None:
    """Replaces the file; columns are in the order in which rows first have them."""
    rows = list(rows)
    with files.replacing(path) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(rows)
