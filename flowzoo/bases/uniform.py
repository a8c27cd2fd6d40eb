"""Uniform: the uniform base on the unit cube."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases.base import Base


@keras.saving.register_keras_serializable("flowzoo")
class Uniform(Base):
    """Independent uniforms on (0, 1); a temperature below 1 moves samples towards the centre.

    Flows on this base end in `layers.Sigmoid`, which maps the real line to (0, 1). Temperatures above 1
    count as 1, because the density is zero outside the cube.
    """

    def distribution(self, context=None):
        batch = [] if context is None else [tf.shape(context)[0]]
        low = tf.zeros([*batch, *self.event_shape], self.variable_dtype)
        uniform = tfp.distributions.Uniform(low, tf.ones([], self.variable_dtype))
        return tfp.distributions.Independent(uniform, len(self.event_shape))

    def log_prob(self, z, context=None):
        axes = list(range(-len(self.event_shape), 0))
        outside = tf.reduce_any((z < 0) | (z > 1), axis=axes)
        density = tf.zeros(tf.shape(z)[: -len(axes)], self.variable_dtype)
        return tf.where(outside, tf.constant(-math.inf, self.variable_dtype), density)

    def sample(self, seeds, temperature, context=None):
        noise = random.uniform(seeds, math.prod(self.event_shape))
        # The middle of each of the 2**24 cells: never an edge, where the data would be infinite.
        noise = tf.minimum(noise + 2.0**-25, 1.0 - 2.0**-24)
        noise = tf.reshape(tf.cast(noise, self.variable_dtype), [-1, *self.event_shape])
        return 0.5 + (noise - 0.5) * self._rows(tf.minimum(temperature, 1.0))
