"""Dequantize: spreads discrete values over their steps by uniform noise."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from flowzoo import bijectors, random
from flowzoo.backend.sharding import draw_rows
from flowzoo.layers.preprocessing.base import Preprocessing


@keras.saving.register_keras_serializable("flowzoo")
class Dequantize(Preprocessing):
    """Declares that the data are discrete, in steps of a given width, and spreads each value over its step.

    A density of discrete values runs to infinity at each of them. Uniform noise over the step turns
    it into a bound on the log-probability of the value (Theis et al. 2016, section 3.1; the log of the
    step's volume aside). The bijector is the identity; `dequantize` adds the noise before it.

    * While training the noise is fresh at every step.
    * Otherwise it is a function of the row itself (ADR 2), so the same row always has the same density,
      whatever its neighbours, and the mean over many different rows estimates the bound as fresh noise would.

    Args:
        width: The step: one number, or one per column, with 0 for continuous columns.

    Raises:
        ValueError: If a width is negative or not finite.
    """

    must_be_first = True

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
                "give one number, or one per column."
            ) from None

    @property
    def discrete_steps(self):
        return self._steps

    def bijector(self, context=None, training=False):
        return bijectors.Chain([], self.event_shape, dtype=self.variable_dtype, name=self.name)

    def dequantize(self, x, noise_seed=None):
        discrete = self._steps > 0
        steps = tf.constant(np.where(discrete, self._steps, 1.0), x.dtype)
        # A thousandth of slack: 0.29 / 0.01 is 28.999998 in float32, and means 29.
        index = tf.floor(x / steps + 1e-3)
        if noise_seed is None:
            noise = self._noise_of_rows(index)
        else:
            noise = draw_rows(
                lambda rows: tf.random.stateless_uniform(
                    [rows, *self.event_shape], noise_seed, alg=random.ALGORITHM
                ),
                tf.shape(x)[0],
            )
        moved = (index + tf.cast(noise, x.dtype)) * steps
        return moved if discrete.all() else tf.where(discrete, moved, x)

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
