"""ActNorm: a scale and a shift per channel, set from data (Kingma and Dhariwal 2018, section 3.1)."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo.bijectors import Affine
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class ActNorm(FlowLayer):
    """``x = z * exp(log_scale) + shift``, with one scale and one shift per entry of the last axis.

    The identity until `adapt` sets both so that the latents of the rows it sees have mean 0 and variance 1.
    Unlike the layer of the paper, it never initialises itself from the first batch.
    """

    def create_weights(self, event_shape, context_shape):
        self.shift = self.add_weight(name="shift", shape=event_shape[-1:], initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=event_shape[-1:], initializer="zeros")

    def bijector(self, context=None, training=False):
        return Affine(
            self.shift.value,
            self.log_scale.value,
            self.event_shape,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def adapt(self, x, context=None):
        mean, variance = tf.nn.moments(x, axes=list(range(x.shape.rank - 1)))
        self.shift.assign(mean)
        # Bounded below, so that a channel that is constant in these rows does not explode later.
        self.log_scale.assign(0.5 * tf.math.log(tf.maximum(variance, 1e-6)))
        return super().adapt(x, context)
