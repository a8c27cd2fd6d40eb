"""DiagonalGaussian, FullGaussian and ConditionalGaussian: normal bases with learned parameters."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bases.normal import Normal
from flowzoo.bijectors.linear import lower_triangular_inverse

tfd, tfb = tfp.distributions, tfp.bijectors


class _ScaledNormal(Normal):
    """``z = loc + exp(log_scale) * temperature * noise``, elementwise."""

    def loc_and_log_scale(self, context):
        """Returns both, in shapes that broadcast against ``[N, *event_shape]``."""
        raise NotImplementedError

    def distribution(self, context=None):
        loc, log_scale = self.loc_and_log_scale(context)
        batch = [] if context is None else [tf.shape(context)[0]]
        loc = tf.broadcast_to(loc, [*batch, *self.event_shape])
        return tfd.Independent(tfd.Normal(loc, tf.exp(log_scale)), len(self.event_shape))

    def log_prob(self, z, context=None):
        loc, log_scale = self.loc_and_log_scale(context)
        axes = list(range(-len(self.event_shape), 0))
        noise = (z - loc) * tf.exp(-log_scale)
        return super().log_prob(noise) - tf.reduce_sum(log_scale, axis=axes)

    def sample(self, seeds, temperature, context=None):
        loc, log_scale = self.loc_and_log_scale(context)
        return loc + tf.exp(log_scale) * super().sample(seeds, temperature)


@keras.saving.register_keras_serializable("flowzoo")
class DiagonalGaussian(_ScaledNormal):
    """Independent normals with learned means and standard deviations; initially the standard normal.

    The temperature multiplies the standard deviations: at 0 every sample is the mean.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bases import DiagonalGaussian
        >>> base = DiagonalGaussian()
        >>> base.build((None, 2))
        >>> base.log_prob(tf.zeros([1, 2])).numpy()
        array([-1.837877], dtype=float32)
    """

    def create_weights(self, event_shape, context_shape):
        self.loc = self.add_weight(name="loc", shape=event_shape, initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=event_shape, initializer="zeros")

    def loc_and_log_scale(self, context):
        return self.loc.value, self.log_scale.value


@keras.saving.register_keras_serializable("flowzoo")
class ConditionalGaussian(_ScaledNormal):
    """Independent normals whose means and log standard deviations are affine in the context.

    With one-hot classes as contexts, every class has its own Gaussian. Initially it is the standard normal.
    The temperature multiplies the standard deviations.

    Args:
        scale_bound: Bound of the log standard deviations: they lie in ``(-scale_bound, scale_bound)``, by a
            tanh.

    Raises:
        ValueError: If `scale_bound` is not positive, or the flow has no context.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bases import ConditionalGaussian
        >>> base = ConditionalGaussian()
        >>> base.build((None, 2), (None, 3))
        >>> base.log_prob(tf.zeros([1, 2]), tf.one_hot([1], 3)).numpy()
        array([-1.837877], dtype=float32)
    """

    def __init__(self, scale_bound: float = 3.0, **kwargs):
        super().__init__(**kwargs)
        if not scale_bound > 0:
            raise ValueError(f"scale_bound must be > 0; got {scale_bound}.")
        self.scale_bound = float(scale_bound)

    def create_weights(self, event_shape, context_shape):
        if context_shape is None:
            raise ValueError(
                "The base conditional_gaussian needs a context: give create_model a context_shape, or use "
                "the base diagonal_gaussian."
            )
        outputs = 2 * math.prod(event_shape)
        self.kernel = self.add_weight(name="kernel", shape=(*context_shape, outputs), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")

    def loc_and_log_scale(self, context):
        parameters = tf.matmul(context, self.kernel.value) + self.bias.value
        loc, raw = (tf.reshape(part, [-1, *self.event_shape]) for part in tf.split(parameters, 2, axis=-1))
        return loc, self.scale_bound * tf.tanh(raw / self.scale_bound)

    def get_config(self):
        return {**super().get_config(), "scale_bound": self.scale_bound}


@keras.saving.register_keras_serializable("flowzoo")
class FullGaussian(Normal):
    """A normal with a learned mean and a learned full covariance; initially the standard normal.

    The covariance is learned as the lower triangular factor A, with a positive diagonal, of the precision
    ``A^T A``: D (D + 1) / 2 weights for events of D numbers. A log-density takes one product,
    ``A (z - loc)``, and no solver. Samples are ``loc + A^-1 noise``; each call inverts A once, by log2(D)
    levels of matrix products (see `lower_triangular_inverse`). The temperature multiplies the noise.

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bases import FullGaussian
        >>> base = FullGaussian()
        >>> base.build((None, 2))
        >>> base.log_prob(tf.zeros([1, 2])).numpy()
        array([-1.837877], dtype=float32)
    """

    def create_weights(self, event_shape, context_shape):
        size = math.prod(event_shape)
        self.loc = self.add_weight(name="loc", shape=(size,), initializer="zeros")
        # Row by row; the diagonal holds logarithms.
        self.factor = self.add_weight(name="factor", shape=(size * (size + 1) // 2,), initializer="zeros")

    def set_moments(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """Sets the mean ``[D]`` and the covariance ``[D, D]``, which must be positive definite."""
        # For a covariance C C^T with C lower triangular, A = C^-1.
        factor = np.linalg.inv(np.linalg.cholesky(covariance))
        np.fill_diagonal(factor, np.log(np.diag(factor)))
        self.loc.assign(mean)
        self.factor.assign(factor[np.tril_indices(len(factor))])

    def distribution(self, context=None):
        size = self.loc.shape[0]
        batch = [] if context is None else [tf.shape(context)[0]]
        loc = tf.broadcast_to(self.loc.value, [*batch, size])
        flat = tfd.MultivariateNormalTriL(loc, scale_tril=self._inverse_matrix())
        if len(self.event_shape) == 1:
            return flat
        return tfd.TransformedDistribution(flat, tfb.Reshape(self.event_shape, [size]))

    def log_prob(self, z, context=None):
        matrix, log_det = self._matrix_and_log_det()
        flat = tf.reshape(z, tf.concat([tf.shape(z)[: -len(self.event_shape)], self.loc.shape], axis=0))
        noise = tf.linalg.matmul(flat - self.loc.value, matrix, transpose_b=True)
        return super().log_prob(tf.reshape(noise, tf.shape(z))) + log_det

    def sample(self, seeds, temperature, context=None):
        noise = tf.reshape(super().sample(seeds, temperature), [-1, self.loc.shape[0]])
        z = self.loc.value + tf.linalg.matmul(noise, self._inverse_matrix(), transpose_b=True)
        return tf.reshape(z, [-1, *self.event_shape])

    def _matrix_and_log_det(self):
        """A ``[D, D]`` and ``log|A|``."""
        size = self.loc.shape[0]
        rows, columns = np.indices((size, size))
        # Entries above the diagonal index the zero that is appended.
        index = np.where(columns <= rows, rows * (rows + 1) // 2 + columns, size * (size + 1) // 2)
        lower = tf.gather(tf.pad(self.factor.value, [[0, 1]]), index)
        log_diagonal = tf.gather(self.factor.value, np.diag(index))
        return tf.where(rows == columns, tf.exp(log_diagonal), lower), tf.reduce_sum(log_diagonal)

    def _inverse_matrix(self):
        return lower_triangular_inverse(self._matrix_and_log_det()[0])
