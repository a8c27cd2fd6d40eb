"""Calibration: scores of held-out normal rows, and the thresholds that they give. Needs no TensorFlow."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.storage import files
from flowzoo.storage.registry import METADATA

KEY = "calibration"
# So many tell a rate of 1 % to within a tenth of it, and a preset's metadata stay small.
_MOST_ROWS = 10_000


class Calibration:
    """Anomaly scores of normal rows that the flow was not fitted to.

    A threshold is a score among them, by rank alone (split conformal). If a new normal row and these rows
    could have come in any order, it scores above ``threshold(rate)`` with a probability of at most `rate`,
    and of more than ``rate - 1 / (n + 1)`` if no scores are equal: however good or bad the flow is. That is
    the mean over all calibrations with n rows. The rate of a single one scatters around it, with a standard
    deviation of about ``sqrt(rate (1 - rate) / n)``. Nothing is promised of anomalies, nor once normal rows
    change their ways.

    Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Bates et al.,
    "Testing for outliers with conformal p-values" (2023).

    Args:
        scores: ``[n]``, nats, higher is stranger; of more than 10,000 a random part is kept.

    Attributes:
        scores: float32, sorted.

    Raises:
        ValueError: If there is none, or one is NaN.

    Example:
        >>> calibration = Calibration(range(1, 100))
        >>> calibration.threshold(0.05), calibration.threshold(0.01)
        (95.0, 99.0)
    """

    def __init__(self, scores: Any):
        scores = np.asarray(scores, np.float32)
        if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
            raise ValueError(f"scores must be numbers, one or more of them; got {scores!r}.")
        if len(scores) > _MOST_ROWS:
            scores = np.random.default_rng(0xCA11B).choice(scores, _MOST_ROWS, replace=False)
        self.scores = np.sort(scores)

    def threshold(self, false_positives: float) -> float:
        """The score above which at most this share of normal rows lie.

        Args:
            false_positives: The share, between 0 and 1.

        Returns:
            Nats.

        Raises:
            ValueError: If it is no such share, or too small for so few rows.
        """
        if not 0 < false_positives < 1:
            raise ValueError(
                f"The rate of false positives lies between 0 and 1, such as 0.01; got {false_positives!r}."
            )
        rows = len(self.scores)
        # The slack is for rounding: 10 * (1 - 0.7) is a little more than 3.
        rank = math.ceil((rows + 1) * (1 - false_positives) - 1e-9)
        if rank > rows:
            least = math.ceil(1e4 / (rows + 1)) / 1e4
            raise ValueError(
                f"The flow was calibrated with {rows} rows, which tell rates of false positives from "
                f"{least:g} on; got {false_positives:g}, which takes {math.ceil(1 / false_positives) - 1} "
                "rows. Take a higher rate, or fit with more rows."
            )
        return float(self.scores[rank - 1])

    def to_metadata(self) -> dict[str, Any]:
        """What `read` finds in a preset's metadata."""
        # Nine digits give a float32 back as it was.
        return {KEY: {"scores": [float(f"{score:.9g}") for score in self.scores]}}

    @classmethod
    def read(cls, directory: str | os.PathLike) -> Calibration:
        """The calibration in a preset's metadata.

        Raises:
            ValueError: If there is none, or it is damaged.
        """
        path = Path(directory) / METADATA
        held = files.read_json(path).get(KEY) if path.is_file() else None
        if held is None:
            raise ValueError(
                f"{directory} has no calibration. Give a threshold in nats, or fit it, or calibrate it, with "
                "flowzoo.applications.AnomalyDetector, and save it from there."
            )
        try:
            return cls(held["scores"])
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"The calibration in {path} holds no scores; the file is damaged.") from None
