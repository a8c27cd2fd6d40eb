"""Squeeze: 2x2 blocks of pixels become channels."""

from __future__ import annotations

import keras

from flowzoo import bijectors
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Squeeze(FlowLayer):
    """Data ``(H, W, C)``, latents ``(H/2, W/2, 4C)`` (Dinh et al. 2017, section 3.6)."""

    def create_weights(self, event_shape, context_shape):
        if len(event_shape) != 3 or event_shape[0] % 2 or event_shape[1] % 2:
            raise ValueError(
                f"Squeeze needs images (H, W, C) of even height and width; got {event_shape}. "
                "Pad or crop the images, or use fewer levels."
            )

    def latent_shape(self, event_shape):
        height, width, channels = event_shape
        return (height // 2, width // 2, 4 * channels)

    def bijector(self, context=None, training=False):
        return bijectors.Squeeze(self.event_shape, dtype=self.variable_dtype, name=self.name)
