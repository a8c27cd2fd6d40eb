"""Conditioner: the base class of networks that predict a bijector's parameters."""

from __future__ import annotations

import keras

from flowzoo.conditioners.weight_norm import WeightNorm


class Conditioner(keras.layers.Layer):
    """Maps the identity part of an event, and a context, to parameters.

    A subclass implements `create_weights` and `call(x, context=None, training=False)`. Its last layer
    starts at zero, so that a new flow is near the identity; dense hidden layers start with `spread_out`.
    Under a mixed policy it runs in the compute dtype; the caller casts the result.
    """

    built: bool

    def build(self, input_shape, output_shape=None, context_shape=None):
        """Creates the weights.

        Args:
            input_shape: ``(None, *event_shape)`` of the input.
            output_shape: ``(None, *event_shape)`` of the parameters.
            context_shape: ``(None, size)`` of the context, or None.
        """
        if self.built:
            return
        if output_shape is None:
            raise ValueError(f"{type(self).__name__} must be built with an output_shape.")
        context = None if context_shape is None else tuple(context_shape[1:])
        self.create_weights(tuple(input_shape[1:]), tuple(output_shape[1:]), context)
        self.built = True

    @property
    def penalized(self) -> list[keras.Variable]:
        """Weights that an L2 penalty acts on: kernels, not biases; for a `WeightNorm` the lengths g."""
        inner = [layer for layer in self._flatten_layers() if isinstance(layer, WeightNorm)]
        directions = {id(layer.layer.kernel) for layer in inner}
        lengths = {id(layer.g) for layer in inner}
        return [
            weight
            for weight in self.trainable_weights
            if id(weight) in lengths or ("kernel" in weight.name and id(weight) not in directions)
        ]

    def create_weights(self, input_shape, output_shape, context_shape):
        """Creates every weight; shapes are event shapes."""
        raise NotImplementedError

    def build_sublayer(self, layer: keras.layers.Layer, input_shape: tuple) -> keras.layers.Layer:
        """Builds a sublayer for an event shape and returns it."""
        layer.build((None, *input_shape))
        return layer

    def sublayer_options(self) -> dict:
        """Keyword arguments that every sublayer gets."""
        return {"dtype": self.dtype_policy}


def spread_out(inputs: int) -> keras.initializers.Initializer:
    """Initializer of a hidden layer's kernel or bias: uniform within 1/sqrt(inputs) of 0, as in PyTorch.

    With zero biases, all ReLUs of the first layer bend at zero: a network of one column then starts as two
    straight lines and is slow to learn where to bend (docs/adr/0013).
    """
    return keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
