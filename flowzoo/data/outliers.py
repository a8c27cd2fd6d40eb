"""Absurd values: what lies so far from a column's other values that it would ruin its scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A value is absurd if it lies further from the median than this many robust standard deviations, and if few
# rows hold one; many such rows are a heavy tail.
FAR = 100.0
MOST = 0.01


@dataclass(frozen=True)
class Bounds:
    """The interval of each column outside which values are absurd.

    Attributes:
        low: Lower ends, ``[D]``.
        high: Upper ends, ``[D]``.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of_sample(cls, rows: np.ndarray) -> Bounds:
        """Bounds by the quantiles of a sample ``[n, D]``, which a handful of values cannot move.

        A column whose inner 98 % hold a single value has no bounds.
        """
        rows = np.asarray(rows, np.float64)
        low1, low25, middle, high75, high99 = np.quantile(rows, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
        # In standard deviations of a normal: from the quartiles, or from the tails if these are wider.
        scale = np.maximum((high75 - low25) / 1.349, (high99 - low1) / 4.653)
        reach = np.where(scale > 0, FAR * scale, np.inf)
        return cls(middle - reach, middle + reach)

    def hold(self, minimum: np.ndarray, maximum: np.ndarray) -> bool:
        """Whether all values between two rows are within the bounds."""
        return bool((minimum >= self.low).all() and (maximum <= self.high).all())

    def within(self, rows: np.ndarray) -> np.ndarray:
        """Which rows ``[N, D]`` hold no absurd value, ``[N]`` bool."""
        inside: np.ndarray = (rows >= self.low) & (rows <= self.high)
        return np.asarray(inside.all(axis=1))


class Census:
    """Counts absurd rows over batches, for a warning.

    Args:
        bounds: The bounds.
    """

    def __init__(self, bounds: Bounds):
        self._bounds = bounds
        self._counts = np.zeros(len(bounds.low), np.int64)
        self._farthest = np.zeros(len(bounds.low))
        self._first: int | None = None
        self.rows = self.absurd = 0

    def update(self, rows: np.ndarray) -> np.ndarray:
        """Counts a batch ``[N, D]``; returns which of its rows are within the bounds."""
        within = self._bounds.within(rows)
        if not within.all():
            if self._first is None:
                self._first = self.rows + int(np.argmin(within))
            outside = (rows < self._bounds.low) | (rows > self._bounds.high)
            middle, reach = (self._bounds.low + self._bounds.high) / 2, self._bounds.high - self._bounds.low
            distance = np.where(outside, np.abs(rows - middle) / (reach / (2 * FAR)), 0.0)
            self._counts += outside.sum(0)
            self._farthest = np.maximum(self._farthest, distance.max(0))
            self.absurd += int((~within).sum())
        self.rows += len(rows)
        return within

    @property
    def few(self) -> bool:
        """Whether some rows are absurd, and few enough to leave them out."""
        return 0 < self.absurd <= MOST * self.rows

    def warning(self) -> str:
        """Names columns, rows and distances."""
        columns = ", ".join(
            f"column {column} ({self._counts[column]} rows, up to {self._farthest[column]:.2g} standard "
            "deviations from the median)"
            for column in np.flatnonzero(self._counts)[:5]
        )
        return (
            f"{self.absurd} of {self.rows} rows of x hold absurd values (first: row {self._first}): "
            f"{columns}. They are left out of the scales and of training. Correct or drop them."
        )
