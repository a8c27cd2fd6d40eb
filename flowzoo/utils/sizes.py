"""Sizes of chunks and batches: powers of two. No TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence


def power_of_two_floor(number: int) -> int:
    """The largest power of two that is at most `number`, and at least 1.

    Example:
        >>> [power_of_two_floor(number) for number in (0, 1, 5, 64)]
        [1, 1, 4, 64]
    """
    return 1 << max(number, 1).bit_length() - 1


def power_of_two_ceiling(number: int) -> int:
    """The smallest power of two that is at least `number`, and at least 1.

    Example:
        >>> [power_of_two_ceiling(number) for number in (0, 1, 5, 64)]
        [1, 1, 8, 64]
    """
    return 1 << max(number - 1, 0).bit_length()


def rows_per_chunk(event_shape: Sequence[int], most: int) -> int:
    """How many rows to process at once: a power of two from 64 to `most`, fewer for large events.

    Example:
        >>> rows_per_chunk((2,), 8192), rows_per_chunk((28, 28, 1), 8192), rows_per_chunk((32, 32, 3), 8192)
        (8192, 512, 128)
    """
    rows = 2**19 // math.prod(event_shape)
    return power_of_two_floor(min(max(rows, 64), most))


def batch_size_for(rows: int, least: int, most: int) -> int:
    """A power of two between `least` and `most` that gives an epoch about 16 steps.

    Example:
        >>> [batch_size_for(rows, 16, 512) for rows in (100, 1000, 100_000)]
        [16, 32, 512]
    """
    return min(most, max(least, power_of_two_floor(rows // 16)))
