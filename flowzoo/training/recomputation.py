"""RecomputingDensity: gradients without stored activations, by recomputing each layer from its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from flowzoo import bijectors
from flowzoo.bijectors import inverse_and_log_det
from flowzoo.density import Density
from flowzoo.layers import FlowLayer, MultiScale


class RecomputingDensity(Density):
    """A density whose training pass keeps only the latents for the gradient.

    On the way back each layer's input is computed from its output (Gomez et al. 2017, The Reversible Residual
    Network), then the layer once more, under a tape of its own. Layers that are `slow_to_undo` keep their
    input instead. So memory does not grow with depth, and a step takes longer.

    Args:
        density: The density to train. Nothing in it may be random.
    """

    def __init__(self, density: Density):
        super().__init__(
            density.transforms,
            density.event_shape,
            density.context_shape,
            preprocessing=density.preprocessing,
            base=density.base,
            dtype=density.dtype,
            name=density.name,
            architecture=density.architecture,
        )

    def to_latents(self, x: tf.Tensor, context: Any = None, training: bool = False) -> tuple:
        """Latents and log-det, as those of `Density`; their gradients need little memory."""
        if not training:
            return super().to_latents(x, context)
        return encode(self.layers, x, context)


def encode(layers: Sequence[FlowLayer], x: tf.Tensor, context: tf.Tensor | None) -> tuple:
    """Latents and log-det ``[N]`` of rows through flow layers, data side first.

    Args:
        layers: Flow layers. Nothing in them may be random.
        x: ``[N, *event_shape]``.
        context: ``[N, size]`` or None.
    """
    log_det = tf.zeros(tf.shape(x)[:1], x.dtype)
    run: list[FlowLayer] = []
    for layer in layers:
        if not isinstance(layer, MultiScale):
            run.append(layer)
            continue
        x, part = _encode_run(run, x, context)
        scales = [_Encoded(scale, context, x.dtype) for scale in layer.scales]
        x, own = bijectors.MultiScale(scales, dtype=x.dtype).inverse_and_log_det(x)
        log_det, run = log_det + part + own, []
    x, part = _encode_run(run, x, context)
    return x, log_det + part


class _Encoded(bijectors.FusedBijector):
    """The layers of a scale as one bijector, from data to latents."""

    def __init__(self, layers: Sequence[FlowLayer], context: tf.Tensor | None, dtype: tf.DType):
        self._layers, self._context = layers, context
        shape = layers[0].event_shape
        for layer in layers:
            shape = layer.latent_shape(shape)
        super().__init__(shape, layers[0].event_shape, dtype=dtype)

    def _inverse_and_log_det(self, x):
        return encode(self._layers, x, self._context)


def check_deterministic(model: keras.Model) -> None:
    """Raises a ValueError if the model has dropout: recomputation would drop other units."""
    if any(isinstance(layer, keras.layers.Dropout) and layer.rate for layer in model._flatten_layers()):
        raise ValueError(
            "memory_efficient computes activations again, and dropout would drop others the second time: "
            "create the flow with dropout=0, or compile with memory_efficient=False."
        )


def _encode_run(layers, x, context):
    contexts = [] if context is None else [context]

    @tf.custom_gradient
    def run(x, *contexts):
        kept, log_det = {0: x}, tf.zeros(tf.shape(x)[:1], x.dtype)
        for i, layer in enumerate(layers):
            if layer.slow_to_undo:
                kept[i] = x
            x, part = _encode_one(layer, x, contexts)
            log_det += part
        z = x

        def gradient(dz, d_log_det, variables=()):
            y, dy = z, dz
            of_variable: dict = {}
            d_contexts = [tf.zeros_like(context) for context in contexts]
            for i, layer in reversed(list(enumerate(layers))):
                x = kept[i] if i in kept else tf.stop_gradient(_bijector(layer, contexts).forward(y))
                weights = [variable.value for variable in layer.trainable_variables]
                with tf.GradientTape() as tape:
                    tape.watch([x, *contexts])
                    results = _encode_one(layer, x, contexts)
                of_weights, (dy, *more) = tape.gradient(
                    results, [weights, [x, *contexts]], [dy, d_log_det], unconnected_gradients="zero"
                )
                of_variable |= {weight.ref(): part for weight, part in zip(weights, of_weights, strict=True)}
                d_contexts = [d + part for d, part in zip(d_contexts, more, strict=True)]
                y = x
            return (dy, *d_contexts), [of_variable[variable.ref()] for variable in variables]

        return (z, log_det), gradient

    return run(x, *contexts)


def _bijector(layer, contexts):
    return layer.bijector(contexts[0] if contexts else None, True)


def _encode_one(layer, x, contexts):
    """One layer's latents, and its log-det as ``[N]``."""
    z, log_det = inverse_and_log_det(_bijector(layer, contexts), x, len(layer.event_shape))
    return z, log_det + tf.zeros(tf.shape(x)[:1], x.dtype)
