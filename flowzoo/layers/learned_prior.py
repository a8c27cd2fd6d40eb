"""LearnedPrior: a learned scale and shift of the latents, which depend on the context if there is one."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from flowzoo.bijectors import Affine, bounded_log_scale
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class LearnedPrior(FlowLayer):
    """``x = z * exp(log_scale(context)) + shift(context)``, one of each per entry of the event.

    As the last layer before a standard normal base it turns the base into a diagonal normal with learned
    moments, class-conditional if the context is a one-hot class (the learned top prior in the code of Kingma
    and Dhariwal 2018). The base itself stays standard, so a temperature scales all noise alike. `shift` and,
    before its bound, `log_scale` are affine in the context and start at zero: a new layer is the identity.

    Args:
        scale_bound: Bound of the log-scale: it lies in ``(-scale_bound, scale_bound)``, by a tanh.

    Raises:
        ValueError: If `scale_bound` is not positive.

    Example:
        >>> from flowzoo.layers import LearnedPrior
        >>> layer = LearnedPrior()
        >>> layer.build((None, 2), context_shape=(None, 3))
        >>> layer.bijector(tf.ones([5, 3])).inverse(tf.ones([5, 2])).shape.as_list()
        [5, 2]
    """

    def __init__(self, scale_bound: float = 3.0, **kwargs):
        super().__init__(**kwargs)
        if not scale_bound > 0:
            raise ValueError(f"scale_bound must be > 0; got {scale_bound}.")
        self.scale_bound = float(scale_bound)

    def create_weights(self, event_shape, context_shape):
        outputs = 2 * math.prod(event_shape)
        self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")
        self.kernel = None
        if context_shape is not None:
            self.kernel = self.add_weight(name="kernel", shape=(*context_shape, outputs), initializer="zeros")

    def bijector(self, context=None, training=False):
        parameters = self.bias.value
        if self.kernel is not None:
            parameters = parameters + tf.matmul(context, self.kernel.value)
        batch = tf.shape(parameters)[:-1]
        shift, raw = (
            tf.reshape(part, tf.concat([batch, self.event_shape], axis=0))
            for part in tf.split(parameters, 2, axis=-1)
        )
        log_scale = bounded_log_scale(raw, self.scale_bound)
        return Affine(shift, log_scale, self.event_shape, dtype=self.variable_dtype, name=self.name)

    def get_config(self):
        return {**super().get_config(), "scale_bound": self.scale_bound}
