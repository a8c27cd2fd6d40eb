"""Sigmoid: the real line to the unit interval, so that a flow can end in a uniform base."""

from __future__ import annotations

import keras

from flowzoo import bijectors
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Sigmoid(FlowLayer):
    """Data on the real line, latents in (0, 1): ``z = sigmoid(x)``."""

    def bijector(self, context=None, training=False):
        return bijectors.Sigmoid(self.event_shape, dtype=self.variable_dtype, name=self.name)
