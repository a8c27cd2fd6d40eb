"""FlowLayer: a Keras layer that owns weights and hands out a TFP bijector made of their values."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_probability as tfp


class FlowLayer(keras.layers.Layer):
    """Weights plus one method, `bijector`.

    A subclass writes

    * `create_weights(event_shape, context_shape)`: every weight and every sub-layer, built;
    * `bijector(context, training)`: a throw-away bijector from the current values, called inside
      the trace;
    * `latent_shape(event_shape)`, if it changes the event shape;
    * `adapt(x, context)`, if a weight is set from data.

    Called as a Keras layer it maps data to latents: ``layer(x) = layer.bijector().inverse(x)``.
    """

    def __init__(self, **kwargs):
        # Densities stay in the variables' dtype; only conditioners run in the compute dtype.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)

    def build(self, input_shape, context_shape=None):
        """Creates every weight.

        Args:
            input_shape: ``(None, *event_shape)`` on the data side.
            context_shape: ``(None, size)`` of the context, or None.
        """
        if self.built:
            return
        self.event_shape = tuple(int(size) for size in input_shape[1:])
        self.create_weights(self.event_shape, None if context_shape is None else tuple(context_shape[1:]))
        self.built = True

    def create_weights(self, event_shape: tuple, context_shape: tuple | None) -> None:
        """Creates every weight and builds every sub-layer; shapes are event shapes."""

    def latent_shape(self, event_shape: tuple) -> tuple:
        """Event shape on the latent side."""
        return tuple(event_shape)

    def bijector(self, context=None, training: bool = False) -> tfp.bijectors.Bijector:
        """The bijector (forward = latent to data) of the current values, for this context."""
        raise NotImplementedError

    def adapt(self, x: tf.Tensor, context=None) -> tf.Tensor:
        """Sets from rows what this layer learns from data without gradients; returns their latents."""
        return self.bijector(context).inverse(x)

    def call(self, x, context=None, training=False):
        return self.bijector(context, training).inverse(x)

    def compute_output_shape(self, input_shape, context_shape=None):
        return (input_shape[0], *self.latent_shape(input_shape[1:]))
