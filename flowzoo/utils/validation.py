"""Checks of arguments: shapes, types and values, each with one clear message.

TensorFlow is imported where tensors are made: the client, which does not need it, checks with the same words.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


def as_rows(value: Any, event_shape: tuple, dtype: str, argument: str) -> tf.Tensor:
    """`value` as a tensor ``[N, *event_shape]`` of the given floating dtype.

    Raises:
        ValueError: If it is not numeric, or has another shape.
    """
    import tensorflow as tf

    tensor = _as_tensor(value, argument)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        raise ValueError(
            f"{argument} must hold numbers; got dtype {tensor.dtype.name}. Encode it as numbers first."
        )
    check_event_shape(tensor.shape, event_shape, argument)
    if tensor.shape.rank is None or not tensor.shape[1:].is_fully_defined():
        tensor = tf.ensure_shape(tensor, [None, *event_shape])
    return tensor if tensor.dtype.name == dtype else tf.cast(tensor, dtype)


def check_event_shape(shape: Any, event_shape: tuple, argument: str) -> None:
    """Raises a ValueError unless `shape` is ``(rows, *event_shape)`` as far as it is known."""
    expected = (None, *event_shape)
    if getattr(shape, "rank", 0) is None:  # A tf.TensorShape of unknown rank.
        return
    got = tuple(shape)
    if _fits(got, expected):
        return
    hint = ""
    if _fits(got, event_shape):
        hint = f" This is one row without a batch axis: pass {argument}[None], or batch the dataset."
    elif len(got) == len(expected) - 1 and event_shape[-1] == 1:
        hint = f" The channel axis is missing: pass {argument}[..., None]."
    raise ValueError(f"{argument} must have shape {show_shape(expected)}; got {show_shape(got)}.{hint}")


def as_context(
    context: Any, context_shape: tuple | None, rows: Any, dtype: str, is_single: bool = False
) -> tf.Tensor | None:
    """`context` as ``[N, size]``; a single context ``[size]`` or ``[1, size]`` is repeated for every row.

    Args:
        context: What the user passed, or None.
        context_shape: The shape that the flow expects, or None.
        rows: Number of rows (an int, or None where unknown).
        dtype: Floating dtype.
        is_single: Whether a vector is certainly one context for all rows, and not one label for each.

    Raises:
        ValueError: If a context is given and none expected, or the reverse, or the shapes do not fit.
    """
    import tensorflow as tf

    check_context_presence(context is not None, context_shape)
    if context is None or context_shape is None:
        return None
    tensor = _as_tensor(context, "context")
    if tensor.shape.rank == len(context_shape) and rows is not None:
        may_be_labels = not is_single or tensor.dtype.is_integer
        if may_be_labels and rows > 1 and tensor.shape.as_list() == [rows] == list(context_shape):
            raise ValueError(
                f"context has shape ({rows},): one context of size {rows}, or one number for each of {rows} "
                f"rows? Pass context[None] for one context; encode labels as vectors "
                f"{show_shape((None, *context_shape))}."
            )
        # Before it is repeated for every row, which a wrong size would turn into a huge tensor.
        check_event_shape((None, *tensor.shape), context_shape, "context")
        tensor = tf.repeat(tensor[None], rows, axis=0)
    tensor = as_rows(tensor, context_shape, dtype, "context")
    if rows is not None and tensor.shape[0] == 1 and rows != 1:
        tensor = tf.repeat(tensor, rows, axis=0)
    if rows is not None and tensor.shape[0] not in (None, rows):
        raise ValueError(f"context has {tensor.shape[0]} rows and x has {rows}; give one for each row.")
    return tensor


def check_context_presence(given: bool, context_shape: tuple | None) -> None:
    """Raises a ValueError if a context is given to an unconditional flow, or missing."""
    if given and context_shape is None:
        raise ValueError(
            "This flow takes no context, but one was given (the second part of a pair counts as one). Pass x "
            "alone, for example dataset.map(lambda x, y: x), or create the flow with context_shape=."
        )
    if not given and context_shape is not None:
        raise ValueError(
            f"This flow is conditional: pass a context of shape {show_shape((None, *context_shape))}, "
            "for example flow.log_prob(x, context) or a dataset of (x, context) pairs."
        )


def as_numbers(value: Any, count: int, argument: str, whole: bool = False) -> np.ndarray:
    """`value` as one number or `count` of them.

    Raises:
        ValueError: If it is neither, or if the numbers are not whole where they must be.
    """
    numbers = np.asarray(value)
    expected = f"one {'whole ' if whole else ''}number or {count} of them"
    if numbers.dtype.kind not in ("iu" if whole else "iuf"):
        raise ValueError(f"{argument} must be {expected}; got {value!r}.")
    if numbers.shape not in ((), (count,)):
        raise ValueError(f"{argument} must be {expected}; got shape {numbers.shape}.")
    return numbers


def check_unmasked(value: Any, argument: str) -> None:
    """Raises a ValueError if a masked array has masked entries: what they hide would be used."""
    masked = int(np.ma.count_masked(value)) if isinstance(value, np.ma.MaskedArray) else 0
    if masked:
        raise ValueError(
            f"{argument} is a masked array with {masked} masked entries, whose values would be used. Drop or "
            f"impute these rows; {argument}.filled(numpy.nan) marks them as missing for score."
        )


def check_temperature(temperature: np.ndarray) -> None:
    """Raises a ValueError unless all temperatures are finite and not negative."""
    wrong = temperature[~(np.isfinite(temperature) & (temperature >= 0))]
    if wrong.size:
        raise ValueError(f"temperature must be finite and >= 0; got {wrong.flat[0]}.")


def sample_count(n: Any, context: Any, context_shape: tuple | None, seed: Any) -> int:
    """The number of samples, from `n` and from the rows of context and seed.

    Raises:
        ValueError: If it is not a whole number, negative, or these disagree.
    """
    try:
        known = {"n": None if n is None else operator.index(n)}
    except TypeError:
        raise ValueError(f"n must be a whole number; got {n!r}.") from None
    if np.ndim(seed) == 1:
        known["seed"] = len(seed)
    if context is not None and context_shape and np.ndim(context) > len(context_shape):
        # A single context is repeated for all samples.
        known["context"] = len(context) if len(context) != 1 or known["n"] is None else known["n"]
    counts = {count for count in known.values() if count is not None}
    if len(counts) != 1:
        raise ValueError(f"sample needs one number of samples; got {known}.")
    (count,) = counts
    if count < 0:
        raise ValueError(f"n must be >= 0; got {count}.")
    return count


def check_finite(rows: Any, argument: str) -> None:
    """Raises a ValueError that counts and locates NaN and infinity in eager rows ``[N, ...]``."""
    values = np.asarray(rows)
    bad = ~np.isfinite(values.reshape(len(values), math.prod(values.shape[1:])))
    if bad.any():
        raise ValueError(nonfinite_message(argument, int(bad.any(1).sum()), len(values), bad))


def nonfinite_message(
    argument: str, bad_rows: int, rows: int, bad: np.ndarray, first: int | None = None
) -> str:
    """Says how many rows hold NaN or infinity, which one is the first, and in which columns.

    Args:
        argument: Name of the argument.
        bad_rows: Number of rows with a bad value.
        rows: Number of rows.
        bad: Counts for each column ``[columns]``, or flags ``[rows, columns]``.
        first: Index of the first bad row; found from the flags if not given.
    """
    if first is None:
        first = int(bad.any(1).argmax())
    counts = bad.sum(0) if bad.ndim == 2 else bad
    worst = np.argsort(-counts, kind="stable")[:5]
    columns = ", ".join(f"{column} ({counts[column]})" for column in worst if counts[column])
    return (
        f"{argument} holds NaN or infinity in {bad_rows} of {rows} rows (first: row {first}); "
        f"by column: {columns}. Drop or impute these rows first."
    )


def _fits(shape: tuple, expected: tuple) -> bool:
    """Whether the sizes agree as far as they are known."""
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _as_tensor(value: Any, argument: str) -> tf.Tensor:
    import tensorflow as tf

    check_unmasked(value, argument)
    try:
        return tf.convert_to_tensor(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{argument} must be an array of numbers with equal rows; got {type(value).__name__} "
            f"that TensorFlow cannot read ({str(error).splitlines()[0]})."
        ) from None


def show_shape(shape: Any) -> str:
    """A shape as messages show it: ``(N, 3)``, with N for any number."""
    sizes = ["N" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
