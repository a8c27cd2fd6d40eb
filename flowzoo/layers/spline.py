"""Spline: a learned monotone spline for each column or channel, independent of the others."""

from __future__ import annotations

import keras

from flowzoo.bijectors import RationalQuadraticSpline
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Spline(FlowLayer):
    """A rational-quadratic spline per entry of the last axis; all pixels share the spline of a channel.

    It ignores the context and starts as the identity. See `flowzoo.bijectors.RationalQuadraticSpline`.

    Args:
        bins: Number of bins of each spline.
        bound: The splines act in ``[-bound, bound]``; outside they are the identity.

    Raises:
        ValueError: If there are fewer than two bins, or the bound is not positive.

    Example:
        >>> from flowzoo.layers import Spline
        >>> layer = Spline(bins=4)
        >>> layer.build((None, 2))
        >>> layer(keras.ops.ones((5, 2))).shape.as_list()
        [5, 2]
    """

    def __init__(self, bins: int = 8, bound: float = 3.0, **kwargs):
        super().__init__(**kwargs)
        check_spline(bins, bound)
        self.bins = int(bins)
        self.bound = float(bound)

    def create_weights(self, event_shape, context_shape):
        shape = (RationalQuadraticSpline.parameters_size(self.bins), event_shape[-1])
        self.parameters = self.add_weight(name="parameters", shape=shape, initializer="zeros")

    def bijector(self, context=None, training=False):
        return RationalQuadraticSpline(
            self.parameters.value,
            self.event_shape,
            bound=self.bound,
            knots_axis=-2,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "bound": self.bound}


def check_spline(bins: int, bound: float) -> None:
    """Raises a ValueError unless ``bins >= 2`` and ``bound > 0``."""
    if bins < 2:
        raise ValueError(f"bins must be >= 2; got {bins}.")
    if not bound > 0:
        raise ValueError(f"bound must be > 0; got {bound}.")
