"""Ties: values that recur, at which a density runs to infinity; what `adapt` warns about."""

from __future__ import annotations

import numpy as np

from flowzoo.data.moments import Moments
from flowzoo.utils.messages import Argument, Message

# Shares of the sampled rows from which on a warning is worth its words.
TIED = 0.1
COPIED = 0.01
# Whole numbers beyond it are not all float32 numbers.
EXACT = 2**24


def complaints(moments: Moments, rows: np.ndarray, steps: np.ndarray, float32: bool) -> list[str]:
    """What is wrong with data of an event shape for a density, in words.

    Shares come from a uniform sample of the rows. So they depend on how often two rows agree and not on
    how many there are, and cost nothing for a longer stream.

    Args:
        moments: Of all rows.
        rows: The sample, ``[n, *event_shape]``.
        steps: The event's steps that the flow dequantises; 0 for continuous elements.
        float32: Whether the flow computes in float32.

    Returns:
        Warnings, none for continuous data.
    """
    if rows.ndim > 2:
        return [_WHOLE_IMAGES] if moments.integral.all() and not steps.any() else []
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    found = [
        _about_ties(*_ties(moments, distinct, steps), steps) or _about_copies(_repeated(counts), steps),
        _about_steps(distinct, steps),
        _about_digits(moments) if float32 else "",
    ]
    return [complaint for complaint in found if complaint]


_WHOLE_IMAGES = Message(
    "x holds whole numbers only, near which a density can grow without bound: say so with {step}, or with "
    "{pixels}.",
    step=Argument("dequantize", 1.0),
    pixels=Argument("preprocessing", "pixels"),
)


def _about_ties(ties: list[str], suggested: list[float], steps: np.ndarray) -> str:
    if not ties:
        return ""
    shown = ties[:8] + ([f"and {len(ties) - 8} more columns"] if len(ties) > 8 else [])
    told = f"x has ties, near which a density can grow without bound: {'; '.join(shown)}."
    if suggested == steps.tolist():
        return told
    # One number where all columns have one step.
    value = suggested if len(set(suggested)) > 1 else suggested[0]
    return Message(
        "{told} Say so with {argument}: steps, 0 for none.", told=told, argument=Argument("dequantize", value)
    )


def _about_copies(share: float, steps: np.ndarray) -> str:
    if steps.all() or share <= COPIED:
        return ""
    return (
        f"{share:.0%} of x's rows are copies of others, near which a density can grow without bound. "
        "Drop the copies, unless they are what the data are like."
    )


def _about_steps(rows: np.ndarray, steps: np.ndarray) -> str:
    """A step so wide that many values fall into one, as `Dequantize` cuts them."""
    for i in np.flatnonzero(steps):
        values = np.unique(rows[:, i])
        index = np.floor(values / steps[i] + 1e-3)
        if len(np.unique(index)) < (1 - TIED) * len(values):
            beside = values[np.abs(values / steps[i] - index - 0.5).argmin()]
            return (
                f"dequantize gives column {i} of x a step of {steps[i]:g}, wider than the gaps between its "
                f"values (such as {beside:g}): what is below a step is lost. Give the step of each column, "
                "0 for continuous ones."
            )
    return ""


def _about_digits(moments: Moments) -> str:
    largest = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))
    coarse = np.flatnonzero(moments.integral & (largest > EXACT))
    if not len(coarse):
        return ""
    return (
        f"Columns {coarse[:8].tolist()} of x hold whole numbers beyond {EXACT:,}, of which float32 keeps "
        "only every second, fourth, ...: subtract a constant (a first date, say), or leave them out."
    )


def _ties(moments: Moments, rows: np.ndarray, steps: np.ndarray) -> tuple[list[str], list[float]]:
    """What is tied, and the steps to dequantise it with."""
    ties, suggested = [], steps.tolist()
    whole = np.flatnonzero(moments.integral & (steps == 0))
    if len(whole):
        ties.append(f"columns {whole[:8].tolist()} hold whole numbers only")
        for i in whole:
            suggested[i] = 1.0
    for i in np.flatnonzero(~moments.integral & (steps == 0)):
        values, counts = np.unique(rows[:, i], return_counts=True)
        share = _repeated(counts)
        if share <= TIED:
            continue
        commonest, top = values[counts.argmax()], counts.max() / counts.sum()
        if top > share / 2:
            ties.append(
                f"column {i} is {commonest:g} in {top:.0%} of the rows (model those apart, or drop it)"
            )
        else:
            suggested[i] = _step(values)
            ties.append(f"column {i} repeats {share:.0%} of its values, rounded to {suggested[i]:g}")
    return ties, suggested


def _repeated(counts: np.ndarray) -> float:
    """The share of rows whose value another row has too."""
    return float(counts[counts > 1].sum() / counts.sum())


def _step(values: np.ndarray) -> float:
    """The least gap between sorted values; to two digits if it is that but for float32's rounding."""
    noise = float(np.spacing(np.float32(np.abs(values).max())))
    gap = float(np.diff(values.astype(np.float64)).min())
    short = float(f"{gap:.2g}")
    return short if abs(short - gap) <= 1e-3 * gap + noise else gap
