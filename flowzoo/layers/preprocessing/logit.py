"""Logit: data in an interval to the real line."""

from __future__ import annotations

import keras

from flowzoo import bijectors
from flowzoo.data.moments import Moments
from flowzoo.layers.preprocessing.base import Preprocessing


@keras.saving.register_keras_serializable("flowzoo")
class Logit(Preprocessing):
    """Maps data in an interval to the real line: pixels in [0, 256] by default.

    Args:
        low: Lower end.
        high: Upper end.
        margin: Keeps the ends finite: 1e-6 (Papamakarios et al. 2017) suits a black background, 0.05
            (Dinh et al. 2017) natural images.

    Raises:
        ValueError: If the interval is empty, or the margin is not between 0 and 0.5.
    """

    def __init__(self, low: float = 0.0, high: float = 256.0, margin: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        if not low < high or not 0 < margin < 0.5:
            raise ValueError(f"Expected low < high and 0 < margin < 0.5; got {low}, {high}, {margin}.")
        self.low, self.high, self.margin = float(low), float(high), float(margin)

    @property
    def support(self):
        return self.low, self.high

    def check_range(self, moments: Moments) -> None:
        low, high = float(moments.minimum.min()), float(moments.maximum.max())
        if low < self.low or high > self.high:
            raise ValueError(
                f"x must lie in [{self.low:g}, {self.high:g}]; it spans {low:g} to {high:g}. Pass raw "
                "pixels 0..255, or create the flow with preprocessing='standardize'."
            )
        if low >= 0 and 0 < high <= 1 and not moments.integral.all() and self.high > 2:
            raise ValueError(
                f"x spans {low:g} to {high:g}: these look like pixels scaled to 0..1, but the flow takes "
                f"{self.low:g}..{self.high:g}. Pass the raw pixels (x * 255), not scaled ones."
            )

    def bijector(self, context=None, training=False):
        return bijectors.Logit(
            self.low,
            self.high,
            self.margin,
            self.event_shape,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high, "margin": self.margin}
