"""Base: what every base distribution has in common."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.layers.event_layer import EventLayer


class Base(EventLayer):
    """The distribution of the latents, with row-wise seeds.

    A subclass writes `distribution`, `log_prob` (of ops that ONNX has) and `sample`, and
    `create_weights` if it has any.
    """

    def distribution(self, context=None) -> tfp.distributions.Distribution:
        """The same as a TFP distribution; its batch shape is the context's."""
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
