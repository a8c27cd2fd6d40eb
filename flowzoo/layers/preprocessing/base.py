"""Preprocessing: a flow layer on the raw data that fits itself to their moments and checks their values."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.data.moments import Moments
from flowzoo.layers.base import FlowLayer
from flowzoo.utils.messages import Argument, Message


class Preprocessing(FlowLayer):
    """A flow layer that stands before the transforms.

    Besides `bijector` and `create_weights`, a subclass implements what applies to it:

    * `moments` and `fit_moments`, if it learns from the moments of the data;
    * `check_range`, if it takes some values only, and `support`, the interval of these;
    * `discrete_steps`, `dequantize` and `must_be_first`, if it spreads discrete values over their steps;
    * `entrywise` and `mixing`, if it mixes the elements of an event.
    """

    moments: Literal["none", "variance", "covariance"] = "none"
    must_be_first = False

    def fit_moments(self, moments: Moments) -> None:
        """Sets what the layer learns, given the moments of the data as this layer sees them.

        Raises:
            ValueError: If a density of data with these moments has no bound.
        """

    def check_range(self, moments: Moments) -> None:
        """Checks the raw data by their moments.

        Raises:
            ValueError: If the layer does not take values in this range.
        """

    @property
    def support(self) -> tuple[float, float] | None:
        """The interval of values that the layer takes; None for all numbers."""
        return None

    @property
    def discrete_steps(self) -> np.ndarray | None:
        """Width of the step of each element of the event, 0 where it is continuous; None without steps."""
        return None

    def dequantize(self, x: tf.Tensor, noise_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Rows ``[N, *event_shape]`` with noise within their steps; the rows themselves without steps.

        Args:
            x: Rows.
            noise_seed: int32 ``[2]`` for fresh noise; None for noise that is a function of the row.
        """
        return x

    def entrywise(self) -> tfp.bijectors.Bijector:
        """The part of the bijector next to the data that treats each element on its own."""
        return self.bijector()

    def mixing(self) -> tfp.bijectors.Bijector | None:
        """The rest of the bijector, which mixes elements; None if there is no rest."""
        return None


def check_columns_vary(moments: Moments) -> None:
    """Raises a ValueError that names the columns that hold a single value."""
    constant = np.flatnonzero((moments.maximum == moments.minimum).ravel())
    if len(constant):
        shown = ", ".join(f"{column} (always {moments.minimum.ravel()[column]:g})" for column in constant[:5])
        raise ValueError(
            Message(
                "{count} column(s) of x never change: {shown}. A density there runs to infinity: drop them, "
                "or say that the data are discrete with {step}.",
                count=len(constant),
                shown=shown,
                step=Argument("dequantize"),
            )
        )
