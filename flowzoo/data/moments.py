"""Moments of a data set in one streaming pass, with a count of its NaN and infinite values."""

from __future__ import annotations

import numpy as np

from flowzoo.utils.validation import nonfinite_message


class Moments:
    """Mean, variance and range of each element of an event, over any number of batches.

    Uses the update of Chan et al. in float64, so that a billion rows lose no digits.

    Args:
        event_shape: Shape of a row.
        covariance: Whether to keep the covariance of the elements; only for vectors ``(D,)``.
    """

    def __init__(self, event_shape: tuple, covariance: bool = False):
        self.count = 0
        self.mean = np.zeros(event_shape)
        self._squares = np.zeros(event_shape)
        self._products = np.zeros(event_shape * 2) if covariance else None
        self.minimum = np.full(event_shape, np.inf)
        self.maximum = np.full(event_shape, -np.inf)
        self.integral = np.ones(event_shape, bool)
        self._bad_columns = np.zeros(int(np.prod(event_shape)), np.int64)
        self._bad_rows = 0
        self._first_bad: int | None = None

    @property
    def variance(self) -> np.ndarray:
        """Population variance of each element."""
        return self._squares / max(self.count, 1)

    @property
    def covariance(self) -> np.ndarray:
        """Population covariance ``[D, D]``."""
        if self._products is None:
            raise ValueError("The covariance was not kept: make Moments(event_shape, covariance=True).")
        return self._products / max(self.count, 1)

    def update(self, rows: np.ndarray) -> None:
        """Adds a batch ``[N, *event_shape]``."""
        rows = np.asarray(rows, np.float64)
        if not len(rows):
            return
        self._note_nonfinite(rows)
        total = self.count + len(rows)
        with np.errstate(invalid="ignore"):  # infinite values are counted above
            mean = rows.mean(0)
            delta = mean - self.mean
            self._squares += np.square(rows - mean).sum(0)
            weight = self.count * len(rows) / total
            self._squares += np.square(delta) * weight
            if self._products is not None:
                self._products += (rows - mean).T @ (rows - mean) + np.outer(delta, delta) * weight
            self.mean += delta * (len(rows) / total)
        self.minimum = np.minimum(self.minimum, rows.min(0))
        self.maximum = np.maximum(self.maximum, rows.max(0))
        self.integral &= (rows == np.round(rows)).all(0)
        self.count = total

    def check(self, argument: str) -> None:
        """Raises a ValueError if there are no rows, or if some hold NaN or infinity."""
        if not self.count:
            raise ValueError(f"{argument} holds no rows. Check the path, the split, or the filter.")
        if self._bad_rows:
            raise ValueError(
                nonfinite_message(argument, self._bad_rows, self.count, self._bad_columns, self._first_bad)
            )

    def _note_nonfinite(self, rows):
        bad = ~np.isfinite(rows.reshape(len(rows), -1))
        by_row = bad.any(1)
        if by_row.any():
            if self._first_bad is None:
                self._first_bad = self.count + int(by_row.argmax())
            self._bad_rows += int(by_row.sum())
            self._bad_columns += bad.sum(0)
