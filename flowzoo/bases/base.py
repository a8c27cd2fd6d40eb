"""Base: what every base distribution has in common."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_probability as tfp


class Base(keras.layers.Layer):
    """The distribution of the latents, with row-wise seeds.

    A subclass writes `distribution`, `log_prob` (of ops that ONNX has) and `sample`.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)

    def build(self, input_shape, context_shape=None):
        """Creates the weights; shapes are ``(None, *latent_shape)`` and ``(None, size)`` or None."""
        if self.built:
            return
        self.event_shape = tuple(int(size) for size in input_shape[1:])
        self.create_weights(self.event_shape, None if context_shape is None else tuple(context_shape[1:]))
        self.built = True

    def create_weights(self, event_shape: tuple, context_shape: tuple | None) -> None:
        """Creates every weight; shapes are event shapes."""

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
