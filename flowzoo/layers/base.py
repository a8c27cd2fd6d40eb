"""FlowLayer: a Keras layer that owns weights and makes a TFP bijector of their values."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.layers.event_layer import EventLayer


class FlowLayer(EventLayer):
    """Weights plus one method, `bijector`.

    A subclass implements

    * `create_weights(event_shape, context_shape)`: every weight and every sub-layer, built (shapes on
      the data side);
    * `bijector(context, training)`: a temporary bijector of the current values, made inside the trace;
    * `latent_shape(event_shape)`, if it changes the event shape;
    * `adapt(x, context)`, if a weight is set from data;
    * `slow_to_undo`, if samples are slow.

    Called as a Keras layer it maps data to latents: ``layer(x) = layer.bijector().inverse(x)``.
    """

    @property
    def slow_to_undo(self) -> bool:
        """Whether computing data from latents costs much more than latents from data."""
        return False

    def latent_shape(self, event_shape: tuple) -> tuple:
        """Event shape on the latent side."""
        return tuple(event_shape)

    def bijector(self, context=None, training: bool = False) -> tfp.bijectors.Bijector:
        """The bijector (forward = latent to data) of the current values, for this context."""
        raise NotImplementedError

    def adapt(self, x: tf.Tensor, context=None) -> tf.Tensor:
        """Sets what this layer learns from rows without gradients; returns the latents of the rows."""
        return self.bijector(context).inverse(x)

    def call(self, x, context=None, training=False):
        return self.bijector(context, training).inverse(x)

    def compute_output_shape(self, input_shape, context_shape=None):
        return (input_shape[0], *self.latent_shape(input_shape[1:]))
