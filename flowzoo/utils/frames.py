"""Data frames of pandas, polars, Arrow or other libraries as rows of numbers, columns matched by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowzoo.utils.suggestions import did_you_mean


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame, whose columns have names."""
    if isinstance(value, np.ndarray) or not (hasattr(value, "columns") or hasattr(value, "column_names")):
        return False
    import narwhals as nw

    return isinstance(nw.from_native(value, eager_only=True, pass_through=True), nw.DataFrame)


def frame_columns(frame: Any) -> list[str]:
    """The names of a frame's columns."""
    import narwhals as nw

    return [str(name) for name in nw.from_native(frame, eager_only=True).columns]


def frame_rows(frame: Any, columns: Sequence[str] | None, argument: str) -> np.ndarray:
    """The rows of a frame, float64 ``[N, D]``; missing cells are NaN.

    Args:
        frame: The frame.
        columns: Names of the columns, in the order wanted; None for all, as they come.
        argument: Name of the argument, for messages.

    Raises:
        ValueError: If a column is missing, unknown or repeated, or a cell is not a number; the message names
            the column, the first such row and its value.

    Example:
        >>> import pyarrow as pa
        >>> frame_rows(pa.table({"b": [1, None], "a": [0.5, 2.0]}), ["a", "b"], "x").tolist()
        [[0.5, 1.0], [2.0, nan]]
    """
    import narwhals as nw

    table = nw.from_native(frame, eager_only=True)
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{argument} has two columns called {twice!r}; rename one.")
    wanted = names if columns is None else list(columns)
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(f"{argument} has no column {name!r}, which the flow was fitted to. {hint}")
    unknown = [name for name in names if name not in wanted]
    if unknown:
        hint = did_you_mean(unknown[0], wanted)
        raise ValueError(
            f"{argument} has the column {unknown[0]!r}, which the flow does not know. {hint} Drop it, or "
            "rename it."
        )
    if not wanted:
        raise ValueError(f"{argument} has no columns.")
    series = dict(zip(names, table.iter_columns(), strict=True))
    return np.stack([_numbers(series[name], name, argument) for name in wanted], axis=1)


def _numbers(series: Any, name: str, argument: str) -> np.ndarray:
    """A column as float64, missing cells as NaN."""
    import narwhals as nw

    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        return np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)
    values = np.empty(len(series))
    for row, value in enumerate(series.to_list()):
        try:
            # Text that spells a number is refused too: its column was read as text for another cell's sake.
            values[row] = math.nan if value is None else float(_not_text(value))
        except (TypeError, ValueError):
            raise ValueError(
                f"{argument}: column {name!r} holds {value!r} in row {row} ({series.dtype}), not a number. "
                "Encode the column as numbers, or drop it."
            ) from None
    return values


def _not_text(value: Any) -> Any:
    if isinstance(value, str | bytes):
        raise TypeError
    return value
