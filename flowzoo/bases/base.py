"""Base: the base class of the distributions of the latents."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.layers.event_layer import EventLayer


class Base(EventLayer):
    """The distribution of the latents, with row-wise seeds.

    A subclass implements `distribution`, `log_prob` (with ops that ONNX has) and `sample`, and
    `create_weights` if it has weights.
    """

    def distribution(self, context=None) -> tfp.distributions.Distribution:
        """This base as a TFP distribution with the batch shape of the context."""
        raise NotImplementedError

    def log_prob(self, z: tf.Tensor, context=None) -> tf.Tensor:
        """Log-density ``[N]`` of latents ``[N, *event_shape]``, in nats."""
        raise NotImplementedError

    def sample(self, seeds: tf.Tensor, temperature: tf.Tensor, context=None) -> tf.Tensor:
        """Latents ``[N, *event_shape]`` from seeds ``[N]`` (int64) and temperatures ``[N]``."""
        raise NotImplementedError

    def _rows(self, temperature):
        """Temperatures ``[N]`` shaped to multiply ``[N, *event_shape]``."""
        return tf.reshape(tf.cast(temperature, self.variable_dtype), [-1] + [1] * len(self.event_shape))
