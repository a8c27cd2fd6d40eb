"""ConvNet: the convolutional conditioner of flows on images, residual or plain."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo.conditioners.base import Conditioner
from flowzoo.conditioners.convolution import Conv2D
from flowzoo.conditioners.dropout import Dropout
from flowzoo.conditioners.weight_norm import WeightNorm


@keras.saving.register_keras_serializable("flowzoo")
class ConvNet(Conditioner):
    """A 3x3 convolution, blocks, and a 3x3 convolution that starts at zero.

    A residual block is a 3x3 and a 1x1 convolution, pre-activation (He et al. 2016), as in Dinh et al.
    (2017), section 3.7. A plain block is one 1x1 convolution; one such block gives the network of Glow
    (Kingma and Dhariwal 2018, section B). A context is added to the first layer as one bias per channel.

    Args:
        channels: Number of hidden channels.
        blocks: Number of blocks; 0 gives two plain convolutions.
        activation: A Keras activation.
        dropout: Dropout rate inside each block, in training only.
        weight_norm: Whether to normalise the kernels of the hidden layers (Salimans and Kingma, 2016).
        residual: Whether blocks are residual or plain.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 2,
        activation: str = "relu",
        dropout: float = 0.0,
        weight_norm: bool = False,
        residual: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if channels < 1 or blocks < 0:
            raise ValueError(f"channels must be >= 1 and blocks >= 0; got {channels} and {blocks}.")
        self.channels = channels
        self.blocks = blocks
        self.activation = keras.activations.get(activation)
        self.dropout = dropout
        self.weight_norm = weight_norm
        self.residual = residual

    @property
    def compiles_well(self) -> bool:
        """Whether XLA is faster on a CPU than TensorFlow's convolutions op by op."""
        layers = self._flatten_layers(include_self=False)
        convolutions = [layer for layer in layers if isinstance(layer, Conv2D)]
        return not self.weight_norm and all(layer.is_narrow for layer in convolutions)

    def create_weights(self, input_shape, output_shape, context_shape):
        if len(input_shape) != 3:
            raise ValueError(f"ConvNet needs images (H, W, C); got event shape {input_shape}. Use MLP.")
        options = self.sublayer_options()
        hidden_shape = (*input_shape[:-1], self.channels)
        self.first = self._conv(3, input_shape)
        sizes = (3, 1) if self.residual else (1,)
        self.inner = [[self._conv(size, hidden_shape) for size in sizes] for _ in range(self.blocks)]
        self.context_layer = None
        if context_shape is not None:
            layer = keras.layers.Dense(self.channels, use_bias=False, **options)
            self.context_layer = self.build_sublayer(layer, context_shape)
        self.drop = Dropout(self.dropout, **options) if self.dropout else None
        last = Conv2D(output_shape[-1], 3, padding="same", kernel_initializer="zeros", **options)
        self.last = self.build_sublayer(last, hidden_shape)

    def _conv(self, kernel_size, input_shape):
        options = self.sublayer_options()
        layer = Conv2D(self.channels, kernel_size, padding="same", kernel_initializer="he_normal", **options)
        layer = WeightNorm(layer, **options) if self.weight_norm else layer
        return self.build_sublayer(layer, input_shape)

    def call(self, x, context=None, training=False):
        batch = tf.shape(x)[:-3]
        images = tf.reshape(x, [-1, *x.shape[-3:]]) if x.shape.rank != 4 else x
        h = self.first(_at_least_one(images))
        if self.context_layer is not None:
            h = h + _at_least_one(self._bias(self.context_layer(context), batch))
        for block in self.inner:
            y = block[0](self.activation(h))
            if self.drop is not None:
                y = self.drop(y, training=training)
            h = h + block[1](self.activation(y)) if self.residual else y
        y = self.last(self.activation(h))
        y = y if images.shape[0] else y[: tf.shape(images)[0]]
        return y if x.shape.rank == 4 else tf.reshape(y, tf.concat([batch, y.shape[1:]], axis=0))

    def _bias(self, bias, batch):
        """``[images, 1, 1, channels]``; the context broadcasts over leading sample dimensions."""
        bias = tf.broadcast_to(bias, tf.concat([batch, [self.channels]], axis=0))
        return tf.reshape(bias, [-1, 1, 1, self.channels])

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "blocks": self.blocks,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "weight_norm": self.weight_norm,
            "residual": self.residual,
        }


def _at_least_one(rows):
    """The rows, or one row of zeros for an empty batch, whose convolution has a wrong shape in oneDNN."""
    if rows.shape[0]:
        return rows
    missing = tf.maximum(1 - tf.shape(rows)[0], 0)
    return tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
