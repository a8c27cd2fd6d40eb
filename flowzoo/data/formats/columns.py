"""Selection of columns by name or position."""

from __future__ import annotations

from collections.abc import Sequence

from flowzoo.utils.messages import Argument, Message
from flowzoo.utils.suggestions import did_you_mean

Columns = str | int | Sequence[str | int] | None


def as_list(columns: Columns) -> list[str | int] | None:
    """The columns as a list; None, which means all columns, stays None."""
    if columns is None:
        return None
    return [columns] if isinstance(columns, str | int) else list(columns)


def choose(columns: Columns, available: Sequence[str], name: str) -> list[int]:
    """Positions of the chosen columns, in the order they were asked for.

    Args:
        columns: Names or positions (from 0; negative from the end); None chooses all.
        available: The existing names.
        name: Name of the file in messages.

    Returns:
        Positions in `available`.

    Raises:
        ValueError: If a column is unknown or repeated, or none is chosen.

    Example:
        >>> choose(["b", 0], ["a", "b", "c"], "rows.csv")
        [1, 0]
    """
    wanted = as_list(columns)
    if wanted is None:
        return list(range(len(available)))
    chosen = [_position(column, available, name) for column in wanted]
    if not chosen:
        raise ValueError(f"{name}: columns is empty; name at least one, or leave it None for all.")
    if len(set(chosen)) < len(chosen):
        raise ValueError(
            Message(
                "{name}: {columns} names a column twice; such data have no density.",
                name=name,
                columns=Argument("columns", wanted),
            )
        )
    return chosen


def _position(column: str | int, available: Sequence[str], name: str) -> int:
    if isinstance(column, str):
        if column not in available:
            raise ValueError(f"{name} has no column {column!r}. {did_you_mean(column, available)}")
        return list(available).index(column)
    if not -len(available) <= column < len(available):
        raise ValueError(f"{name} has no column {column}; it has {len(available)} columns.")
    return column % len(available)
