"""Mixture: a learned mixture of diagonal Gaussians as a base."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases.base import Base

tfd = tfp.distributions

# Noise streams of a row's seed: the position within a component, and the choice of the component.
_NOISE, _COMPONENT = 0, 1


@keras.saving.register_keras_serializable("flowzoo")
class Mixture(Base):
    """K diagonal Gaussians with learned weights, means and standard deviations.

    For densities with several separate modes, which a flow on a unimodal base joins by thin bridges. The
    initial means are random, because equal components would stay equal. The initial standard deviations
    give the mixture mean 0 and variance 1, approximately. The temperature multiplies the standard deviations
    but not the weights of the components; at 0 a sample is the mean of its component.

    Args:
        components: K, the number of components.
        spread: Standard deviation of the initial means, between 0 and 1.

    Raises:
        ValueError: If `components` is less than 1, or `spread` does not lie between 0 and 1.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bases import Mixture
        >>> base = Mixture(components=3)
        >>> base.build((None, 2))
        >>> base.log_prob(tf.zeros([5, 2])).shape.as_list()
        [5]
    """

    def __init__(self, components: int = 10, spread: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if components < 1:
            raise ValueError(f"components must be at least 1; got {components}.")
        if not 0 < spread < 1:
            raise ValueError(f"spread must lie between 0 and 1; got {spread}.")
        self.components = components
        self.spread = float(spread)

    def create_weights(self, event_shape, context_shape):
        shape = (self.components, *event_shape)
        narrow = keras.initializers.Constant(0.5 * math.log(1.0 - self.spread**2))
        spread = keras.initializers.RandomNormal(stddev=self.spread)
        self.logits = self.add_weight(name="logits", shape=(self.components,), initializer="zeros")
        self.loc = self.add_weight(name="loc", shape=shape, initializer=spread)
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer=narrow)

    def distribution(self, context=None):
        batch = [] if context is None else [tf.shape(context)[0]]
        loc = tf.broadcast_to(self.loc.value, [*batch, *self.loc.shape])
        normals = tfd.Independent(tfd.Normal(loc, tf.exp(self.log_scale.value)), len(self.event_shape))
        logits = tf.broadcast_to(self.logits.value, [*batch, self.components])
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), normals)

    def log_prob(self, z, context=None):
        ndims = len(self.event_shape)
        axes = list(range(-ndims, 0))
        log_scale = self.log_scale.value
        noise = (tf.expand_dims(z, -ndims - 1) - self.loc.value) * tf.exp(-log_scale)
        log_volume = tf.reduce_sum(log_scale, axis=axes) + 0.5 * math.prod(self.event_shape) * math.log(
            2 * math.pi
        )
        log_weights = tf.nn.log_softmax(self.logits.value) - log_volume
        return tf.reduce_logsumexp(log_weights - 0.5 * tf.reduce_sum(tf.square(noise), axis=axes), axis=-1)

    def sample(self, seeds, temperature, context=None):
        noise = random.normal(seeds, math.prod(self.event_shape), _NOISE)
        noise = tf.reshape(tf.cast(noise, self.variable_dtype), [-1, *self.event_shape])
        chosen = self._chosen(seeds)
        loc, log_scale = self._pick(chosen, self.loc), self._pick(chosen, self.log_scale)
        return loc + tf.exp(log_scale) * noise * self._rows(temperature)

    def _chosen(self, seeds):
        """Component of each row as one-hot ``[N, K]``, by inversion of the cumulative weights."""
        uniform = tf.cast(random.uniform(seeds, 1, _COMPONENT), self.variable_dtype)
        inner = tf.cumsum(tf.nn.softmax(self.logits.value))[:-1]
        # The first interval starts below every uniform and the last ends above, despite rounding of the sum.
        start, end = tf.concat([[-1.0], inner], axis=0), tf.concat([inner, [2.0]], axis=0)
        return tf.cast((uniform >= start) & (uniform < end), self.variable_dtype)

    def _pick(self, chosen, weight):
        """Rows ``[N, *event_shape]`` of a weight ``[K, *event_shape]``."""
        # Not a matrix product, whose factors a GPU rounds to 10 bits by default.
        chosen = tf.reshape(chosen, [-1, self.components] + [1] * len(self.event_shape))
        return tf.reduce_sum(chosen * weight.value, axis=1)

    def get_config(self):
        return {**super().get_config(), "components": self.components, "spread": self.spread}
