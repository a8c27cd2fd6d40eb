"""rows_at_once: how large chunks and batches of rows are. No TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rows_at_once(event_shape: Sequence[int], most: int) -> int:
    """How many rows to take at once: a power of two from 64 to `most`, fewer for large events.

    Example:
        >>> rows_at_once((2,), 8192), rows_at_once((28, 28, 1), 8192), rows_at_once((32, 32, 3), 8192)
        (8192, 512, 128)
    """
    rows = 2**19 // math.prod(event_shape)
    return 1 << min(max(rows, 64), most).bit_length() - 1
