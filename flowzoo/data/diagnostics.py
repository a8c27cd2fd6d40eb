"""Warnings that `adapt` gives about data: repeated values, near which a density can grow without bound."""

from __future__ import annotations

import numpy as np

from flowzoo.data.moments import Moments
from flowzoo.utils.messages import Argument, Message

# Fractions of the sampled rows above which a warning is given.
REPEATED = 0.1
COPIED = 0.01
# float32 does not represent all whole numbers beyond this one.
EXACT = 2**24


def complaints(moments: Moments, rows: np.ndarray, steps: np.ndarray, float32: bool) -> list[str]:
    """Warnings about data that a density does not fit well.

    Fractions come from a uniform sample of the rows. They depend on how often two rows agree and not on the
    number of rows, and a longer stream costs nothing more.

    Args:
        moments: Moments of all rows.
        rows: The sample, ``[n, *event_shape]``.
        steps: Steps with which the flow dequantises the elements of an event; 0 for continuous elements.
        float32: Whether the flow computes in float32.

    Returns:
        The warnings; empty for continuous data.
    """
    if rows.ndim > 2:
        return [_WHOLE_IMAGES] if moments.integral.all() and not steps.any() else []
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    found = [
        _about_repeated_values(*_repeated_values(moments, distinct, steps), steps)
        or _about_copies(_repeated_fraction(counts), steps),
        _about_steps(distinct, steps),
        _about_digits(moments) if float32 else "",
    ]
    return [complaint for complaint in found if complaint]


_WHOLE_IMAGES = Message(
    "x holds whole numbers only, near which a density can grow without bound. Use {step} or {pixels}.",
    step=Argument("dequantize", 1.0),
    pixels=Argument("preprocessing", "pixels"),
)


def _about_repeated_values(repeated: list[str], suggested: list[float], steps: np.ndarray) -> str:
    if not repeated:
        return ""
    shown = repeated[:8] + ([f"and {len(repeated) - 8} more columns"] if len(repeated) > 8 else [])
    found = f"x has repeated values, near which a density can grow without bound: {'; '.join(shown)}."
    if suggested == steps.tolist():
        return found
    # One number if all columns have the same step.
    value = suggested if len(set(suggested)) > 1 else suggested[0]
    return Message(
        "{found} Give the steps with {argument}; 0 stands for a continuous column.",
        found=found,
        argument=Argument("dequantize", value),
    )


def _about_copies(fraction: float, steps: np.ndarray) -> str:
    if steps.all() or fraction <= COPIED:
        return ""
    return (
        f"{fraction:.0%} of the rows of x are copies of other rows, near which a density can grow without "
        "bound. Drop the copies, unless they are typical of the data."
    )


def _about_steps(rows: np.ndarray, steps: np.ndarray) -> str:
    """Warns about a step so wide that `Dequantize` maps many values to the same one."""
    for i in np.flatnonzero(steps):
        values = np.unique(rows[:, i])
        index = np.floor(values / steps[i] + 1e-3)
        if len(np.unique(index)) < (1 - REPEATED) * len(values):
            between = values[np.abs(values / steps[i] - index - 0.5).argmin()]
            return (
                f"dequantize gives column {i} of x a step of {steps[i]:g}, wider than the gaps between its "
                f"values (such as {between:g}). Smaller differences are lost. Give one step for each column, "
                "0 for a continuous one."
            )
    return ""


def _about_digits(moments: Moments) -> str:
    largest = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))
    coarse = np.flatnonzero(moments.integral & (largest > EXACT))
    if not len(coarse):
        return ""
    return (
        f"Columns {coarse[:8].tolist()} of x hold whole numbers beyond {EXACT:,}, which float32 rounds to "
        "multiples of 2, 4, ... Subtract a constant (for example the first date), or leave these columns out."
    )


def _repeated_values(moments: Moments, rows: np.ndarray, steps: np.ndarray) -> tuple[list[str], list[float]]:
    """Descriptions of the columns with repeated values, and the steps to dequantise all columns with."""
    repeated, suggested = [], steps.tolist()
    whole = np.flatnonzero(moments.integral & (steps == 0))
    if len(whole):
        repeated.append(f"columns {whole[:8].tolist()} hold whole numbers only")
        for i in whole:
            suggested[i] = 1.0
    for i in np.flatnonzero(~moments.integral & (steps == 0)):
        values, counts = np.unique(rows[:, i], return_counts=True)
        fraction = _repeated_fraction(counts)
        if fraction <= REPEATED:
            continue
        commonest, top = values[counts.argmax()], counts.max() / counts.sum()
        if top > fraction / 2:
            repeated.append(
                f"column {i} is {commonest:g} in {top:.0%} of the rows (model these rows separately, or drop "
                "the column)"
            )
        elif (step := _step(values)) is None:
            repeated.append(
                f"column {i} repeats {fraction:.0%} of its values, which are not multiples of one step (drop "
                "the column, or encode it)"
            )
        else:
            suggested[i] = step
            repeated.append(f"column {i} repeats {fraction:.0%} of its values, rounded to {step:g}")
    return repeated, suggested


def _repeated_fraction(counts: np.ndarray) -> float:
    """The fraction of rows whose value another row has too."""
    return float(counts[counts > 1].sum() / counts.sum())


def _step(values: np.ndarray) -> float | None:
    """The step between sorted values, their smallest gap; None if other gaps are not multiples of it.

    Rounded to two digits if only float32 noise is lost.
    """
    noise = float(np.spacing(np.float32(np.abs(values).max())))
    gap = float(np.diff(values.astype(np.float64)).min())
    short = float(f"{gap:.2g}")
    step = short if abs(short - gap) <= 1e-3 * gap + noise else gap
    count = (values - values[0]) / step
    on_lattice = np.abs(count - np.round(count)) <= 1e-2 + 2 * noise / step
    return step if on_lattice.mean() > 1 - REPEATED else None
