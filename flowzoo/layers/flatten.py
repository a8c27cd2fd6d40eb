"""Flatten: images as vectors, for architectures that take vectors."""

from __future__ import annotations

import math

import keras

from flowzoo import bijectors
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Flatten(FlowLayer):
    """Data ``(H, W, C)``, latents ``(H * W * C,)``."""

    def latent_shape(self, event_shape):
        return (math.prod(event_shape),)

    def bijector(self, context=None, training=False):
        return bijectors.Flatten(self.event_shape, dtype=self.variable_dtype, name=self.name)


def flattened(event_shape: tuple[int, ...]) -> tuple[list[FlowLayer], tuple[int, ...]]:
    """The first layers of an architecture for vectors that also takes images, and ``(D,)``."""
    if len(event_shape) == 1:
        return [], event_shape
    return [Flatten()], (math.prod(event_shape),)
