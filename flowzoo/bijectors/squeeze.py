"""Squeeze: 2x2 blocks of pixels become channels (Dinh et al. 2017, section 3.6)."""

from __future__ import annotations

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape


def space_to_depth(x: tf.Tensor) -> tf.Tensor:
    """``[..., H, W, C]`` to ``[..., H/2, W/2, 4C]``; any number of batch dimensions."""
    return _over_images(lambda images: tf.nn.space_to_depth(images, 2), x)


def depth_to_space(x: tf.Tensor) -> tf.Tensor:
    """``[..., H, W, 4C]`` to ``[..., 2H, 2W, C]``; any number of batch dimensions."""
    return _over_images(lambda images: tf.nn.depth_to_space(images, 2), x)


def _over_images(function, x):
    """Applies a function of ``[N, H, W, C]`` to a tensor with any number of batch dimensions."""
    if x.shape.rank == 4:
        return function(x)
    batch = tf.shape(x)[:-3]
    y = function(tf.reshape(x, [-1, *x.shape[-3:]]))
    return tf.reshape(y, tf.concat([batch, y.shape[1:]], axis=0))


class Squeeze(FusedBijector):
    """Data side ``(H, W, C)``, latent side ``(H/2, W/2, 4C)``; a permutation, log-det 0.

    Args:
        data_shape: ``(H, W, C)`` with even H and W.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(self, data_shape: Shape, *, dtype=tf.float32, name=None):
        height, width, channels = data_shape
        latent_shape = (height // 2, width // 2, 4 * channels)
        super().__init__(latent_shape, data_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return depth_to_space(z), tf.zeros([], self.dtype)

    def _inverse_and_log_det(self, x):
        return space_to_depth(x), tf.zeros([], self.dtype)
