"""MultiScale: half of the channels is factored out after each scale (Dinh et al. 2017, section 3.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


class MultiScale(FusedBijector):
    """Maps data ``(H, W, C)`` to a flat latent vector ``(H*W*C,)``, finest scale first.

    After each scale but the last, the second half of the channels becomes latent without further maps, and
    the first half goes on to the next scale.

    Args:
        scales: One fused bijector per scale, for example a `Chain`; scale i takes the first half of what
            scale i-1 returns.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(self, scales: Sequence[FusedBijector], *, dtype=tf.float32, name: str | None = None):
        self._scales = tuple(scales)
        # Event shape of what becomes latent after each scale.
        self._out_shapes = tuple(
            _half(scale.latent_shape) if scale is not scales[-1] else scale.latent_shape for scale in scales
        )
        self._sizes = tuple(math.prod(shape) for shape in self._out_shapes)
        data_shape = scales[0].data_shape
        super().__init__((math.prod(data_shape),), data_shape, dtype=dtype, name=name)

    def _inverse_and_log_det(self, x):
        latents, log_det = [], tf.zeros([], self.dtype)
        for scale in self._scales:
            x, part = scale.inverse_and_log_det(x)
            log_det += part
            if scale is not self._scales[-1]:
                x, out = tf.split(x, 2, axis=-1)
                latents.append(_flatten(out))
        latents.append(_flatten(x))
        return tf.concat(latents, axis=-1), log_det

    def _forward_and_log_det(self, z):
        batch = tf.shape(z)[:-1]
        latents = [
            tf.ensure_shape(tf.reshape(part, tf.concat([batch, shape], axis=0)), [*z.shape[:-1], *shape])
            for part, shape in zip(tf.split(z, self._sizes, axis=-1), self._out_shapes, strict=True)
        ]
        x, log_det = latents[-1], tf.zeros([], self.dtype)
        for i, scale in reversed(list(enumerate(self._scales))):
            if i < len(self._scales) - 1:
                x = tf.concat([x, latents[i]], axis=-1)
            x, part = scale.forward_and_log_det(x)
            log_det += part
        return x, log_det


def _half(shape: Shape) -> Shape:
    return (*shape[:-1], shape[-1] // 2)


def _flatten(x):
    """``[..., H, W, C]`` to ``[..., H*W*C]``."""
    batch, size = tf.shape(x)[:-3], math.prod(x.shape[-3:])
    return tf.ensure_shape(tf.reshape(x, tf.concat([batch, [size]], axis=0)), [*x.shape[:-3], size])
