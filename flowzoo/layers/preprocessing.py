"""Preprocessing that belongs to the flow: standardize, dequantize, logit; their log-dets count."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from flowzoo import bijectors, random, replicas
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Standardize(FlowLayer):
    """Data of any units to mean 0 and variance 1, each column by the training data's own numbers.

    Identity until `Flow.adapt` has seen the data: it passes the moments of all rows, not of a batch.
    """

    needs_moments = True

    def create_weights(self, event_shape, context_shape):
        self.mean = self.add_weight(name="mean", shape=event_shape, initializer="zeros", trainable=False)
        self.log_std = self.add_weight(
            name="log_std", shape=event_shape, initializer="zeros", trainable=False
        )

    def set_moments(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Sets mean and variance, each of the event shape."""
        self.mean.assign(mean)
        self.log_std.assign(0.5 * np.log(np.where(variance > 0, variance, 1.0)))

    def bijector(self, context=None, training=False):
        return bijectors.Affine(
            self.mean.value,
            self.log_std.value,
            self.event_shape,
            dtype=self.variable_dtype,
            name=self.name,
        )


@keras.saving.register_keras_serializable("flowzoo")
class Dequantize(FlowLayer):
    """Says that the data are discrete, with steps of a given width, and spreads each value over its step.

    A density of discrete values runs to infinity at each of them. Uniform noise over the step turns
    it into a bound on the log-probability of the value (Theis et al. 2016, section 3.1; log of the
    step's volume aside). Its bijector is the identity; the noise is added by `noisy` before it.

    * While training the noise is new at every step.
    * Else it is a function of the row itself, so the same row always has the same density, whatever
      its neighbours, and the mean over many different rows estimates the bound as fresh noise would.

    Args:
        width: The step: one number, or one for each column, with 0 for continuous columns.
    """

    def __init__(self, width=1.0, **kwargs):
        super().__init__(**kwargs)
        self.width = np.asarray(width, np.float64).tolist()
        if np.any(np.asarray(width) < 0) or not np.all(np.isfinite(width)):
            raise ValueError(f"width must be a finite step >= 0 (0: continuous); got {width!r}.")

    def create_weights(self, event_shape, context_shape):
        try:
            self._steps = np.broadcast_to(np.asarray(self.width, np.float64), event_shape)
        except ValueError:
            raise ValueError(
                f"Dequantize: width {self.width} does not fit event shape {event_shape}; "
                "give one number, or one for each column."
            ) from None

    def bijector(self, context=None, training=False):
        return bijectors.Chain([], self.event_shape, dtype=self.variable_dtype, name=self.name)

    def noisy(self, x: tf.Tensor, noise_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Rows ``[N, *event_shape]`` moved by noise within their steps.

        Args:
            x: Rows.
            noise_seed: int32 ``[2]`` for new noise (of the global batch, where several replicas share
                one); None for the noise that belongs to each row.
        """
        discrete = (self._steps > 0).astype(np.float64)
        steps = tf.constant(np.where(self._steps > 0, self._steps, 1.0), x.dtype)
        # A thousandth of slack: 0.29 / 0.01 is 28.999998 in float32, and means 29.
        index = tf.floor(x / steps + 1e-3)
        if noise_seed is None:
            u = self._noise_of_rows(index)
        else:
            shape = tf.shape(x)
            u = replicas.draw_rows(
                lambda rows: tf.random.stateless_uniform([rows, *self.event_shape], noise_seed), shape[0]
            )
        moved = (index + tf.cast(u, x.dtype)) * steps
        return moved if discrete.all() else tf.where(discrete > 0, moved, x)

    def _noise_of_rows(self, index):
        """Uniform noise keyed by the row's own values, ``[N, *event_shape]``."""
        size = int(np.prod(self.event_shape))
        flat = tf.reshape(index, [-1, size])
        # Values modulo 2**16 times weights below 2**31, summed: no int64 overflow below 2**16 columns.
        small = tf.cast(tf.math.floormod(flat, 2.0**16), tf.int64)
        weights = np.asarray(random.row_seeds(2021, 2 * size) % 2**31, np.int64).reshape(2, size)
        low = tf.math.floormod(tf.reduce_sum(small * weights[0], axis=-1), 2**32)
        high = tf.math.floormod(tf.reduce_sum(small * weights[1], axis=-1), 2**31)
        noise = random.uniform(high * 2**32 + low, size)
        return tf.reshape(noise, [-1, *self.event_shape])

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("flowzoo")
class Logit(FlowLayer):
    """Data in an interval to the line: pixels in [0, 256] by default.

    Args:
        low: Lower end.
        high: Upper end.
        margin: Keeps the ends finite: 1e-6 (Papamakarios et al. 2017) suits a black background, 0.05
            (Dinh et al. 2017) natural images.
    """

    def __init__(self, low: float = 0.0, high: float = 256.0, margin: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        if not low < high or not 0 < margin < 0.5:
            raise ValueError(f"Wanted low < high and 0 < margin < 0.5; got {low}, {high}, {margin}.")
        self.low, self.high, self.margin = float(low), float(high), float(margin)

    def bijector(self, context=None, training=False):
        return bijectors.Logit(
            self.low,
            self.high,
            self.margin,
            self.event_shape,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high, "margin": self.margin}
