"""MLP: the conditioner of flows on vectors, plain or residual."""

from __future__ import annotations

import keras

from flowzoo.conditioners.base import Conditioner, spread_out
from flowzoo.conditioners.dropout import Dropout
from flowzoo.conditioners.weight_norm import WeightNorm


@keras.saving.register_keras_serializable("flowzoo")
class MLP(Conditioner):
    """Dense layers from ``[..., inputs]`` to ``[..., outputs]``; the context enters the first one.

    Args:
        hidden_units: Width of each hidden layer.
        activation: A Keras activation.
        residual: Whether to add each hidden layer to its input where widths agree. This is one layer per
            block; for the blocks of two pre-activation layers of NSF, see `ResidualMLP`.
        dropout: Dropout rate after each hidden layer, in training only.
        weight_norm: Whether to normalise the kernels of the hidden layers (Salimans and Kingma, 2016).
    """

    def __init__(
        self,
        hidden_units=(128, 128),
        activation: str = "relu",
        residual: bool = False,
        dropout: float = 0.0,
        weight_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_units = tuple(int(units) for units in hidden_units)
        if not self.hidden_units or min(self.hidden_units) < 1:
            raise ValueError(f"hidden_units must hold positive widths; got {hidden_units!r}.")
        self.activation = keras.activations.get(activation)
        self.residual = residual
        self.dropout = dropout
        self.weight_norm = weight_norm

    def create_weights(self, input_shape, output_shape, context_shape):
        if len(input_shape) != 1:
            raise ValueError(f"MLP needs vectors; got event shape {input_shape}. Use ConvNet for images.")
        options = self.sublayer_options()
        self.hidden = []
        width = input_shape[0]
        for units in self.hidden_units:
            start = {"kernel_initializer": spread_out(width), "bias_initializer": spread_out(width)}
            layer = keras.layers.Dense(units, **start, **options)
            layer = WeightNorm(layer, **options) if self.weight_norm else layer
            self.hidden.append(self.build_sublayer(layer, (width,)))
            width = units
        self.context_layer = None
        if context_shape is not None:
            # Added after the first product, so it broadcasts over any leading sample dimensions.
            layer = keras.layers.Dense(self.hidden_units[0], use_bias=False, **options)
            self.context_layer = self.build_sublayer(layer, context_shape)
        self.drop = Dropout(self.dropout, **options) if self.dropout else None
        last = keras.layers.Dense(output_shape[-1], kernel_initializer="zeros", **options)
        self.last = self.build_sublayer(last, (width,))

    def call(self, x, context=None, training=False):
        if x.shape.rank == 1:  # one row, as TFP's distributions pass it; Keras's layers take batches
            return self.call(x[None], context, training)[0]
        h = x
        for i, layer in enumerate(self.hidden):
            y = layer(h)
            if i == 0 and self.context_layer is not None:
                y = y + self.context_layer(context)
            y = self.activation(y)
            if self.drop is not None:
                y = self.drop(y, training=training)
            h = h + y if self.residual and i > 0 and h.shape[-1] == y.shape[-1] else y
        return self.last(h)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "residual": self.residual,
            "dropout": self.dropout,
            "weight_norm": self.weight_norm,
        }
