"""check_sizes: compares a preset's configuration with its weights before anything of that size is built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

# A dataset of a weights file may inflate to this many bytes, and to this many times its size in the file.
_MOST_BYTES, _MOST_RATIO = 2**26, 64
# What the weights need not account for: small sizes, and sizes that an event or a context does not use.
_FREE = {"event_shape": 2**20, "steps": 64, "product of hidden_units": 2**24}
_FREE_ELSEWHERE = 4096


def check_sizes(options: dict[str, Any], event_shape: Any, weights: Path) -> None:
    """Raises a ValueError if a preset's configuration asks for far more than its weights file holds.

    A configuration of 400 bytes can describe a network of a terabyte.

    Args:
        options: The architecture's options.
        event_shape: The event's shape.
        weights: The weights file.
    """
    held = _count(weights)
    for what, size in _sizes({**options, "event_shape": event_shape}):
        if size > max(held, _FREE.get(what, _FREE_ELSEWHERE)):
            raise ValueError(
                f"{weights.parent} is damaged: its configuration has {what} of {size:,}, and {weights.name} "
                f"holds {held:,} numbers."
            )


def _count(path: Path) -> int:
    """How many numbers an HDF5 file holds."""
    import h5py

    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.nbytes > max(_MOST_BYTES, _MOST_RATIO * item.id.get_storage_size()):
                raise ValueError(
                    f"{path} is damaged: {name} takes {item.id.get_storage_size():,} bytes and inflates to "
                    f"{item.nbytes:,}."
                )
            total += item.size

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a readable HDF5 file: {error}") from None
    return total


def _sizes(options: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Named sizes that weights grow with."""
    for name, value in options.items():
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            if name == "event_shape":
                yield name, math.prod(value)
                continue
            yield name, max(value, default=0)
            yield f"product of {name}", max((a * b for a, b in pairwise(value)), default=0)
        elif type(value) is int and name not in ("seed", "pixel_levels"):
            yield name, value
