"""Chain: a composition of bijectors, data side first, each evaluated once."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors.base import (
    FusedBijector,
    Shape,
    forward_and_log_det,
    inverse_and_log_det,
)


class Chain(FusedBijector):
    """Composition in the order of `tfb.Chain`: ``Chain([f, g]).forward(z) = f(g(z))``.

    The first bijector is the nearest to the data. Unlike `tfb.Chain`, it computes value and log-det in
    one pass through each bijector.

    Args:
        bijectors: TFP bijectors, data side first; a `FusedBijector` runs once per pass.
        data_shape: Event shape on the data side.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> import tensorflow_probability as tfp
        >>> from flowzoo.bijectors import Chain
        >>> double = tfp.bijectors.Scale(2.0)
        >>> x, log_det = Chain([double, double], (3,)).forward_and_log_det([[1.0, 2.0, 3.0]])
        >>> x.numpy().tolist(), round(float(log_det), 3)
        ([[4.0, 8.0, 12.0]], 4.159)
    """

    def __init__(
        self,
        bijectors: list[tfp.bijectors.Bijector],
        data_shape: Shape,
        *,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self.bijectors = tuple(bijectors)
        shapes = [tuple(data_shape)]
        for bijector in self.bijectors:
            shapes.append(tuple(bijector.inverse_event_shape(shapes[-1])))
        self._shapes = tuple(shapes)
        super().__init__(shapes[-1], data_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        log_det = tf.zeros([], self.dtype)
        for bijector, shape in zip(reversed(self.bijectors), reversed(self._shapes[1:]), strict=True):
            z, part = forward_and_log_det(bijector, z, len(shape))
            log_det += part
        return z, log_det

    def _inverse_and_log_det(self, x):
        log_det = tf.zeros([], self.dtype)
        for bijector, shape in zip(self.bijectors, self._shapes[:-1], strict=True):
            x, part = inverse_and_log_det(bijector, x, len(shape))
            log_det += part
        return x, log_det
