"""ResidualMLP: the residual conditioner of neural spline flows (Durkan et al. 2019, appendix B.1)."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from flowzoo.conditioners.base import Conditioner, spread_out
from flowzoo.conditioners.dropout import Dropout


@keras.saving.register_keras_serializable("flowzoo")
class ResidualMLP(Conditioner):
    """A dense layer, residual blocks of two pre-activation layers, and a last layer.

    ``h = h + Dense(act(Dense(act(h))))`` after He et al. (2016); the context is added to the first layer.

    Args:
        units: Width of every hidden layer.
        blocks: Number of residual blocks; 0 leaves a linear map.
        activation: A Keras activation.
        dropout: Dropout rate inside each block, in training only.

    Raises:
        ValueError: If `units` is less than 1, `blocks` is negative, or events are not vectors.

    Example:
        >>> from flowzoo.conditioners import ResidualMLP
        >>> network = ResidualMLP(units=16)
        >>> network.build((None, 3), output_shape=(None, 5))
        >>> network(keras.ops.ones((4, 3))).shape.as_list()
        [4, 5]
    """

    def __init__(
        self,
        units: int = 128,
        blocks: int = 2,
        activation: str = "relu",
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units < 1 or blocks < 0:
            raise ValueError(f"units must be >= 1 and blocks >= 0; got {units} and {blocks}.")
        self.units = int(units)
        self.blocks = int(blocks)
        self.activation = keras.activations.get(activation)
        self.dropout = dropout

    def create_weights(self, input_shape, output_shape, context_shape):
        if len(input_shape) != 1:
            raise ValueError(
                f"ResidualMLP needs vectors; got event shape {input_shape}. Use ConvNet for images."
            )
        options = self.sublayer_options()
        self.first = self._dense(self.units, input_shape, spread_out)
        hidden = (self.units,)
        self.inner = [
            (self._dense(self.units, hidden, spread_out), self._dense(self.units, hidden, _small))
            for _ in range(self.blocks)
        ]
        self.context_layer = None
        if context_shape is not None:
            # Added after the first product, so it broadcasts over any leading sample dimensions.
            layer = keras.layers.Dense(self.units, use_bias=False, **options)
            self.context_layer = self.build_sublayer(layer, context_shape)
        self.drop = Dropout(self.dropout, **options) if self.dropout else None
        self.last = self._dense(output_shape[-1], hidden, lambda inputs: keras.initializers.Zeros())

    def _dense(self, units, input_shape, start):
        kernel, bias = start(*input_shape), start(*input_shape)
        options = {"kernel_initializer": kernel, "bias_initializer": bias, **self.sublayer_options()}
        return self.build_sublayer(keras.layers.Dense(units, **options), input_shape)

    def call(self, x, context=None, training=False):
        h = self.first(x)
        if self.context_layer is not None:
            h = h + self.context_layer(context)
        for first, second in self.inner:
            y = self.activation(first(self.activation(h)))
            if self.drop is not None:
                y = self.drop(y, training=training)
            h = h + second(y)
        return self.last(h)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "blocks": self.blocks,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }


def check_residual_widths(hidden_units: Sequence[int]) -> None:
    """Raises a ValueError unless these are the widths of an input layer and of blocks of two layers."""
    if len(set(hidden_units)) != 1 or len(hidden_units) % 2 == 0:
        raise ValueError(
            "A residual network takes an odd number of equal widths: one for the input layer and two for "
            f"each block, such as hidden_units=(128, 128, 128); got {tuple(hidden_units)}."
        )


def _small(inputs):
    """Initializer of a block's second layer: small, so that new outputs do not grow with depth."""
    return keras.initializers.RandomUniform(-1e-3, 1e-3)
