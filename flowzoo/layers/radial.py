"""Radial: the layer of radial flows."""

from __future__ import annotations

import math

import keras

from flowzoo import bijectors
from flowzoo.layers.steps import Steps


@keras.saving.register_keras_serializable("flowzoo")
class Radial(Steps):
    """Steps ``y = x + beta' (x - center) / (alpha' + |x - center|)`` (Rezende and Mohamed 2015, equation 14).

    The identity when new; both directions are closed, see `flowzoo.bijectors.Radial`.

    Args:
        steps: Number of steps.
        closed: Which direction is the formula above: "inverse" (data to latent) or "forward".
        conditioner: With a context, and only then: the network that moves center, alpha and beta.

    Raises:
        ValueError: On an unknown `closed`, fewer than one step, events that are no vectors, or a context
            without a conditioner.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.layers import Radial
        >>> layer = Radial(steps=4)
        >>> layer.build((None, 2))
        >>> layer.bijector().inverse(tf.ones([5, 2])).shape.as_list()
        [5, 2]
    """

    def parameter_weights(self, size):
        # The centres are spread as standardised data are, and alpha is what these are away from them.
        reach = math.log(math.expm1(math.sqrt(size)))
        return {
            "center": (size, keras.initializers.RandomNormal(stddev=1.0)),
            "alpha": (1, keras.initializers.Constant(reach)),
            "beta": (1, keras.initializers.Zeros()),
        }

    def bijector(self, context=None, training=False):
        center, alpha, beta = self.parameters(context, training)
        return bijectors.Radial(
            center,
            alpha[..., 0],
            beta[..., 0],
            closed=self.closed,
            dtype=self.variable_dtype,
            name=self.name,
        )
