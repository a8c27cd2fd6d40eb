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
# This many give a rate of 1 % to within a tenth of it, and keep a preset's metadata small.
_MOST_ROWS = 10_000


class Calibration:
    """Anomaly scores of normal rows that the flow was not fitted to.

    A threshold is one of these scores, chosen by rank alone (split conformal prediction). If a new normal row
    is exchangeable with these rows, it scores above ``threshold(rate)`` with a probability of at most `rate`,
    and of more than ``rate - 1 / (n + 1)`` if no scores are equal. This holds for any flow, good or bad.
    It is the mean over all calibrations with n rows; the rate of a single one scatters around it, with a
    standard deviation of about ``sqrt(rate (1 - rate) / n)``. There is no guarantee for anomalies, nor if the
    distribution of normal rows changes.

    Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Bates et al.,
    "Testing for outliers with conformal p-values" (2023).

    Args:
        scores: ``[n]``, nats, higher is more anomalous; a random 10,000 are kept if there are more.

    Attributes:
        scores: The kept scores, float32, sorted.

    Raises:
        ValueError: If there are no scores, or one is NaN.

    Example:
        >>> calibration = Calibration(range(1, 100))
        >>> calibration.threshold(0.05), calibration.threshold(0.01)
        (95.0, 99.0)
    """

    def __init__(self, scores: Any):
        scores = np.asarray(scores, np.float32)
        if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
            raise ValueError(f"scores must be a vector of one or more numbers, without NaN; got {scores!r}.")
        if len(scores) > _MOST_ROWS:
            scores = np.random.default_rng(0xCA11B).choice(scores, _MOST_ROWS, replace=False)
        self.scores = np.sort(scores)

    def threshold(self, false_positives: float) -> float:
        """The score that at most this fraction of normal rows exceeds.

        Args:
            false_positives: Fraction of normal rows, between 0 and 1.

        Returns:
            The threshold in nats.

        Raises:
            ValueError: If the rate is not between 0 and 1, or too small for the number of rows.
        """
        if not 0 < false_positives < 1:
            raise ValueError(
                f"The false-positive rate must lie between 0 and 1, such as 0.01; got {false_positives!r}."
            )
        rows = len(self.scores)
        # The slack is for rounding: 10 * (1 - 0.7) is a little more than 3.
        rank = math.ceil((rows + 1) * (1 - false_positives) - 1e-9)
        if rank > rows:
            least = math.ceil(1e4 / (rows + 1)) / 1e4
            raise ValueError(
                f"The flow was calibrated with {rows} rows, which allow false-positive rates of "
                f"{least:g} or more; got {false_positives:g}, which needs "
                f"{math.ceil(1 / false_positives) - 1} rows. Use a higher rate, or fit with more rows."
            )
        return float(self.scores[rank - 1])

    def to_metadata(self) -> dict[str, Any]:
        """The calibration as an entry of a preset's metadata, for `read`."""
        # Nine digits restore a float32 exactly.
        return {KEY: {"scores": [float(f"{score:.9g}") for score in self.scores]}}

    @classmethod
    def read(cls, directory: str | os.PathLike) -> Calibration:
        """The calibration in a preset's metadata.

        Raises:
            ValueError: If there is no calibration, or it is damaged.
        """
        path = Path(directory) / METADATA
        held = files.read_json(path).get(KEY) if path.is_file() else None
        if held is None:
            raise ValueError(
                f"{directory} has no calibration. Give a threshold in nats, or fit or calibrate the flow "
                "with flowzoo.applications.AnomalyDetector and save that."
            )
        try:
            return cls(held["scores"])
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"The calibration in {path} holds no scores; the file is damaged.") from None
