"""Preprocessing that belongs to the flow: standardize, whiten, dequantize, logit; their log-dets count."""

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
class Whiten(FlowLayer):
    """Data of any units to mean 0, variance 1 and no correlations, by the training data's own numbers.

    ``z = A (x - mean) / std``: each column loses what those before it say of it, linearly, and what is left
    is scaled to variance 1; A is the inverse of the Cholesky factor of the correlations. For columns that
    nearly determine each other: where the data are a thousand times thinner in one direction than in
    others, a flow of standardized columns spends its layers, and its training, on finding that direction.

    Identity until `Flow.adapt` has seen the data: it passes the moments of all rows, not of a batch.

    Raises:
        ValueError: If events are not vectors.

    Example:
        >>> import numpy as np
        >>> from flowzoo.layers import Whiten
        >>> layer = Whiten()
        >>> layer.build((None, 2))
        >>> layer.set_moments(np.zeros(2), np.array([[1.0, 0.6], [0.6, 1.0]]))
        >>> layer(np.array([[1.0, 0.6], [0.0, 0.8]], "float32")).numpy().round(3).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    # What is left of a column, in parts of its standard deviation, that float32's rounding would drown.
    _least = 1e-5

    def create_weights(self, event_shape, context_shape):
        if len(event_shape) != 1:
            raise ValueError(f"Whiten takes vectors, events of shape (D,); got {event_shape}.")
        self.standardize = Standardize(dtype=self.dtype_policy)
        self.standardize.build((None, *event_shape))
        # A, packed as `flowzoo.bijectors.Linear` takes it.
        self.lu = self.add_weight(name="lu", shape=event_shape * 2, initializer="zeros", trainable=False)

    def set_moments(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """Sets mean ``[D]`` and covariance ``[D, D]``.

        Raises:
            ValueError: If a column is a linear combination of those before it.
        """
        variance = np.diag(covariance)
        std = np.sqrt(np.where(variance > 0, variance, 1.0))
        # What is added keeps rounding from making it indefinite, and is below what is refused.
        correlations = covariance / np.outer(std, std) + 1e-12 * np.eye(len(std))
        factor = np.linalg.cholesky(correlations)
        left = np.diag(factor)
        if np.min(left) < self._least:
            column = int(np.argmin(left))
            raise ValueError(
                f"Column {column} of x is a linear combination of columns before it: what it adds is "
                f"{left[column]:.1g} of its standard deviation. A density there runs to infinity: drop the "
                "column, or say what step its values are rounded to with create_model(..., dequantize=)."
            )
        inverse = np.linalg.inv(factor)
        scale = np.diag(inverse)
        self.standardize.set_moments(mean, variance)
        self.lu.assign(np.tril(inverse / scale, -1) + np.diag(np.log(scale)))

    def linear(self) -> bijectors.Linear:
        """The part behind `standardize`, which mixes columns; its inverse multiplies with A."""
        return bijectors.Linear(self.lu.value, self.event_shape, dtype=self.variable_dtype)

    def bijector(self, context=None, training=False):
        parts = [self.standardize.bijector(), self.linear()]
        return bijectors.Chain(parts, self.event_shape, dtype=self.variable_dtype, name=self.name)


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
                lambda rows: tf.random.stateless_uniform(
                    [rows, *self.event_shape], noise_seed, alg=random.ALGORITHM
                ),
                shape[0],
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
