"""Planar: the layer of planar flows."""

from __future__ import annotations

import keras

from flowzoo import bijectors
from flowzoo.layers.steps import Steps


@keras.saving.register_keras_serializable("flowzoo")
class Planar(Steps):
    """Steps ``y = x + u' tanh(w.x + b)``, initially the identity (Rezende and Mohamed 2015, equation 10).

    See `flowzoo.bijectors.Planar` for u' and for the direction that is solved numerically.

    Args:
        steps: Number of steps.
        closed: "inverse": densities of data take the formula, samples a root search in each step; "forward":
            the reverse, for variational inference.
        conditioner: Network from the context to offsets of w, u and b; required with a context, and refused
            without one.

    Raises:
        ValueError: On an unknown `closed`, fewer than one step, non-vector events, or only one of context and
            conditioner.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.layers import Planar
        >>> layer = Planar(steps=4)
        >>> layer.build((None, 2))
        >>> layer.bijector().inverse(tf.ones([5, 2])).shape.as_list()
        [5, 2]
    """

    @property
    def slow_to_undo(self):
        """True if samples take a root search in each step."""
        return self.closed == "inverse"

    def parameter_weights(self, size):
        # For standardised data: ridges narrower than the data, through their mean. Wider ridges, and random
        # biases of standard deviation 1, ended in worse optima on two moons.
        return {
            "w": (size, keras.initializers.RandomNormal(stddev=2.0 * size**-0.5)),
            "u": (size, keras.initializers.Zeros()),
            "b": (1, keras.initializers.Zeros()),
        }

    def bijector(self, context=None, training=False):
        w, u, b = self.parameters(context, training)
        return bijectors.Planar(
            w, u, b[..., 0], closed=self.closed, dtype=self.variable_dtype, name=self.name
        )
