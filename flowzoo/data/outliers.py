"""Detection of absurd values: values so far from the others of a column that they would ruin its scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A value is absurd if it is further from the median than FAR robust standard deviations, and if at most the
# fraction MOST of the rows holds one. More such rows are a heavy tail.
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
        """Bounds from the quantiles of a sample ``[n, D]``, which a few values cannot move.

        A column has no bounds if its inner 98% hold a single value.
        """
        rows = np.asarray(rows, np.float64)
        low1, low25, middle, high75, high99 = np.quantile(rows, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
        # Standard deviation of a normal with these quartiles, or with these tails if that is larger.
        scale = np.maximum((high75 - low25) / 1.349, (high99 - low1) / 4.653)
        reach = np.where(scale > 0, FAR * scale, np.inf)
        return cls(middle - reach, middle + reach)

    def hold(self, minimum: np.ndarray, maximum: np.ndarray) -> bool:
        """Whether all values between two rows are within the bounds."""
        return bool((minimum >= self.low).all() and (maximum <= self.high).all())

    def within(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of the rows ``[N, D]`` is within the bounds, ``[N]`` bool."""
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
        """The warning, with the columns, the first row and the distances."""
        columns = ", ".join(
            f"column {column} ({self._counts[column]} rows, up to {self._farthest[column]:.2g} standard "
            "deviations from the median)"
            for column in np.flatnonzero(self._counts)[:5]
        )
        return (
            f"{self.absurd} of {self.rows} rows of x hold absurd values (first: row {self._first}): "
            f"{columns}. They are left out of the scales and of training. Correct or drop them."
        )
