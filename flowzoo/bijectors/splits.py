"""HalfSplit and CheckerboardSplit: how a coupling splits an event into two parts."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from flowzoo.bijectors.squeeze import depth_to_space, space_to_depth

Shape = tuple[int, ...]


@dataclass(frozen=True)
class HalfSplit:
    """Splits the last axis (columns of a vector, channels of an image) into two contiguous halves.

    Args:
        size: Length of the last axis.
        swap: False keeps the first half as the identity part, True the second.
    """

    size: int
    swap: bool = False

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        """Event shapes of the (identity, transformed) parts."""
        first, second = self.size // 2, self.size - self.size // 2
        if self.swap:
            first, second = second, first
        return (*event_shape[:-1], first), (*event_shape[:-1], second)

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the (identity, transformed) parts."""
        first, second = tf.split(x, [self.size // 2, self.size - self.size // 2], axis=-1)
        return (second, first) if self.swap else (first, second)

    def merge(self, identity: tf.Tensor, transformed: tf.Tensor) -> tf.Tensor:
        """Undoes `split`."""
        parts = [transformed, identity] if self.swap else [identity, transformed]
        return tf.concat(parts, axis=-1)


@dataclass(frozen=True)
class CheckerboardSplit:
    """Splits an image ``[..., H, W, C]`` into its black and its white pixels (Dinh et al. 2017, fig. 3).

    Both parts have shape ``[..., H/2, W/2, 2C]``: the two pixels of one colour in each 2x2 block become
    channels. A convolution then runs over half of the data at a quarter of the positions, without masked
    zeros.

    Args:
        channels: C, the number of channels.
        swap: False makes the black pixels the identity part, True the white ones.
    """

    channels: int
    swap: bool = False

    def shapes(self, event_shape: Shape) -> tuple[Shape, Shape]:
        """Event shapes of the (identity, transformed) parts."""
        height, width, channels = event_shape
        part = (height // 2, width // 2, 2 * channels)
        return part, part

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the (identity, transformed) parts."""
        c = self.channels
        corner, white, opposite = tf.split(space_to_depth(x), [c, 2 * c, c], axis=-1)
        black = tf.concat([corner, opposite], axis=-1)
        return (white, black) if self.swap else (black, white)

    def merge(self, identity: tf.Tensor, transformed: tf.Tensor) -> tf.Tensor:
        """Undoes `split`."""
        black, white = (transformed, identity) if self.swap else (identity, transformed)
        corner, opposite = tf.split(black, 2, axis=-1)
        return depth_to_space(tf.concat([corner, white, opposite], axis=-1))
