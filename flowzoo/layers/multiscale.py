"""MultiScale: flow layers in scales, with half of the channels factored out after each."""

from __future__ import annotations

import math

import keras

from flowzoo import bijectors
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class MultiScale(FlowLayer):
    """Data ``(H, W, C)``, latents ``(H*W*C,)`` (Dinh et al. 2017, section 3.6).

    Args:
        scales: One list of flow layers (data side first) for each scale. After every scale but the
            last the second half of the channels becomes latent, and the first half goes on.
    """

    def __init__(self, scales: list[list[FlowLayer]], **kwargs):
        super().__init__(**kwargs)
        if not scales or not all(scales):
            raise ValueError("MultiScale needs at least one scale, and a flow layer in each.")
        self.scales = [list(scale) for scale in scales]

    def create_weights(self, event_shape, context_shape):
        context = None if context_shape is None else (None, *context_shape)
        for i, scale in enumerate(self.scales):
            for layer in scale:
                layer.build((None, *event_shape), context)
                event_shape = layer.latent_shape(event_shape)
            if i < len(self.scales) - 1:
                if event_shape[-1] % 2:
                    raise ValueError(
                        f"Scale {i} ends in {event_shape}: an odd number of channels cannot be halved."
                    )
                event_shape = (*event_shape[:-1], event_shape[-1] // 2)

    def latent_shape(self, event_shape):
        return (math.prod(event_shape),)

    def bijector(self, context=None, training=False):
        chains = [
            bijectors.Chain(
                [layer.bijector(context, training) for layer in scale],
                scale[0].event_shape,
                dtype=self.variable_dtype,
            )
            for scale in self.scales
        ]
        return bijectors.MultiScale(chains, dtype=self.variable_dtype, name=self.name)

    def adapt(self, x, context=None):
        h = x
        for scale in self.scales:
            for layer in scale:
                h = layer.adapt(h, context)
            h = h[..., : h.shape[-1] // 2]
        return super().adapt(x, context)

    def get_config(self):
        scales = [[keras.saving.serialize_keras_object(layer) for layer in scale] for scale in self.scales]
        return {**super().get_config(), "scales": scales}

    @classmethod
    def from_config(cls, config):
        scales = [
            [keras.saving.deserialize_keras_object(layer) for layer in scale] for scale in config["scales"]
        ]
        return cls(**{**config, "scales": scales})
