"""Normal: the standard normal base."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases.base import Base


@keras.saving.register_keras_serializable("flowzoo")
class Normal(Base):
    """Independent standard normals; the temperature multiplies their standard deviation."""

    def distribution(self, context=None):
        batch = [] if context is None else [tf.shape(context)[0]]
        loc = tf.zeros([*batch, *self.event_shape], self.variable_dtype)
        normal = tfp.distributions.Normal(loc, tf.ones([], self.variable_dtype))
        return tfp.distributions.Independent(normal, len(self.event_shape))

    def log_prob(self, z, context=None):
        axes = list(range(-len(self.event_shape), 0))
        size = math.prod(self.event_shape)
        return -0.5 * (tf.reduce_sum(tf.square(z), axis=axes) + size * math.log(2 * math.pi))

    def sample(self, seeds, temperature, context=None):
        noise = random.normal(seeds, math.prod(self.event_shape))
        noise = tf.reshape(tf.cast(noise, self.variable_dtype), [-1, *self.event_shape])
        return noise * self._rows(temperature)
