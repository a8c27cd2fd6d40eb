"""Numbered version directories: 1, 2, ..., as TensorFlow Serving reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_version(name: str) -> bool:
    """Whether a name is a version number: ASCII digits only.

    Example:
        >>> [is_version(name) for name in ("7", "-1", "v2", "٣")]
        [True, False, False, False]
    """
    return name.isascii() and name.isdecimal()


def version_numbers(names: Iterable[str]) -> list[int]:
    """The version numbers among names, ascending; a trailing slash is ignored.

    Example:
        >>> version_numbers(["10/", "9/", ".writing-x/"])
        [9, 10]
    """
    return sorted(int(name) for name in (name.rstrip("/") for name in names) if is_version(name))


def version_directories(base: Path) -> list[Path]:
    """The entries of a directory that are versions, in ascending order."""
    found = [entry for entry in base.iterdir() if is_version(entry.name)]
    return sorted(found, key=lambda entry: int(entry.name))
