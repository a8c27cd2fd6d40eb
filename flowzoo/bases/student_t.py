"""StudentT: independent Student-t latents with learned tails."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import random
from flowzoo.bases.base import Base

# Above MIN_DF the variance is finite; at MAX_DF the tails are almost those of a normal.
MIN_DF, MAX_DF = 2.0, 1000.0


@keras.saving.register_keras_serializable("flowzoo")
class StudentT(Base):
    """Independent Student-t distributions, whose degrees of freedom are learned between 2 and 1000.

    For data with heavy tails: a flow with bounded slope on a normal base has light tails (Jaini et al.,
    "Tails of Lipschitz triangular flows", 2020). The temperature multiplies the latents.

    Samples use Bailey's formula, ``sqrt(df (U^(-2/df) - 1)) cos(2 pi V)``, with two uniforms U and V for each
    number. It is exact for any degrees of freedom and takes a fixed number of draws, without rejections.

    Args:
        df: Initial degrees of freedom; at 30 the density is near the standard normal.
        shared: Whether all dimensions share one value.

    Raises:
        ValueError: If `df` does not lie between 2 and 1000.

    Source: Bailey, "Polar generation of random variates with the t-distribution", 1994.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bases import StudentT
        >>> base = StudentT()
        >>> base.build((None, 2))
        >>> base.df.numpy()
        array([30., 30.], dtype=float32)
    """

    def __init__(self, df: float = 30.0, shared: bool = False, **kwargs):
        super().__init__(**kwargs)
        if not MIN_DF < df < MAX_DF:
            raise ValueError(f"df must lie between {MIN_DF:g} and {MAX_DF:g}; got {df}.")
        self.start_df = float(df)
        self.shared = shared

    def create_weights(self, event_shape, context_shape):
        start = math.log((self.start_df - MIN_DF) / (MAX_DF - self.start_df))
        self.raw_df = self.add_weight(
            name="raw_df",
            shape=() if self.shared else event_shape,
            initializer=keras.initializers.Constant(start),
        )

    @property
    def df(self) -> tf.Tensor:
        """Degrees of freedom: one number, or ``[*event_shape]``."""
        return MIN_DF + (MAX_DF - MIN_DF) * tf.sigmoid(self.raw_df.value)

    def distribution(self, context=None):
        batch = [] if context is None else [tf.shape(context)[0]]
        loc = tf.zeros([*batch, *self.event_shape], self.variable_dtype)
        student = tfp.distributions.StudentT(self.df, loc, tf.ones([], self.variable_dtype))
        return tfp.distributions.Independent(student, len(self.event_shape))

    def log_prob(self, z, context=None):
        df = self.df
        constant = log_gamma_step(0.5 * df) - 0.5 * tf.math.log(math.pi * df)
        tail = 0.5 * (df + 1.0) * tf.math.log(1.0 + tf.square(z) / df)
        return tf.reduce_sum(constant - tail, axis=list(range(-len(self.event_shape), 0)))

    def sample(self, seeds, temperature, context=None):
        size = math.prod(self.event_shape)
        uniforms = tf.cast(random.uniform(seeds, 2 * size), self.variable_dtype)
        u, v = (tf.reshape(part, [-1, *self.event_shape]) for part in tf.split(uniforms, 2, axis=-1))
        # 1 - u lies in (0, 1]. exp(x) - 1 = 2 sinh(x / 2) exp(x / 2), which keeps its digits for small x.
        half = -tf.math.log(1.0 - u) / self.df
        radius = tf.sqrt(2.0 * self.df * tf.sinh(half) * tf.exp(half))
        return radius * tf.cos((2.0 * math.pi) * v) * self._rows(temperature)

    def get_config(self):
        return {**super().get_config(), "df": self.start_df, "shared": self.shared}


def log_gamma_step(x: tf.Tensor) -> tf.Tensor:
    """``log Gamma(x + 1/2) - log Gamma(x)`` for x >= 1, to 1e-12 in float64.

    As a difference in float32 it would lose all digits after the fourth at x = 500, and ONNX has no log
    Gamma. So it takes eight steps of Gamma's recurrence, then the asymptotic series of the difference.

    Source: Tricomi and Erdelyi, "The asymptotic expansion of a ratio of gamma functions" (1951).
    """
    steps = tf.constant(np.arange(8.0), x.dtype)
    below = x[..., None] + steps
    recurrence = tf.reduce_sum(tf.math.log(1.0 + 0.5 / below), axis=-1)
    y = 1.0 / (x + 8.0)
    y2 = y * y
    series = y * (-1 / 8 + y2 * (1 / 192 + y2 * (-1 / 640 + y2 * (17 / 14336 - y2 * (31 / 18432)))))
    return series - 0.5 * tf.math.log(y) - recurrence
