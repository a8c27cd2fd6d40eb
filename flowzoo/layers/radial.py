"""Radial: the layer of radial flows."""

from __future__ import annotations

import math

import keras

from flowzoo import bijectors
from flowzoo.layers.steps import Steps


@keras.saving.register_keras_serializable("flowzoo")
class Radial(Steps):
    """Steps ``y = x + beta' (x - center) / (alpha' + |x - center|)`` (Rezende and Mohamed 2015, equation 14).

    It starts as the identity. Both directions have a closed form, see `flowzoo.bijectors.Radial`.

    Args:
        steps: Number of steps.
        closed: The direction that the formula above computes: "inverse" (data to latent) or "forward".
        conditioner: Network from the context to offsets of center, alpha and beta; required with a context,
            and refused without one.

    Raises:
        ValueError: On an unknown `closed`, fewer than one step, non-vector events, or only one of context and
            conditioner.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.layers import Radial
        >>> layer = Radial(steps=4)
        >>> layer.build((None, 2))
        >>> layer.bijector().inverse(tf.ones([5, 2])).shape.as_list()
        [5, 2]
    """

    def parameter_weights(self, size):
        # Centres are spread like standardised data, and alpha is of the order of their distance to the data.
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
