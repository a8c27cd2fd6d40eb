"""WeightNorm: a kernel as a direction times a length (Salimans and Kingma, 2016)."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable("flowzoo")
class WeightNorm(keras.layers.Layer):
    """Wraps a Dense or Conv2D layer: ``kernel = g * v / |v|``, with |v| taken for each output.

    ``v`` is the wrapped layer's own kernel and ``g`` one number per output, which starts at ``|v|``: at first
    the layer computes what it would compute without the wrapper.

    Args:
        layer: A Dense or Conv2D layer.
    """

    built: bool

    def __init__(self, layer: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if self.built:
            return
        if not self.layer.built:
            self.layer.build(input_shape)
        kernel = self.layer.kernel
        length = keras.ops.sqrt(keras.ops.sum(keras.ops.square(kernel.value), axis=self._axes))
        self.g = self.add_weight(
            name="g",
            shape=(kernel.shape[-1],),
            initializer=lambda shape, dtype=None: keras.ops.cast(length, dtype),
        )
        self.built = True

    @property
    def _axes(self):
        return list(range(len(self.layer.kernel.shape) - 1))

    def call(self, x):
        kernel = keras.ops.cast(self.layer.kernel, self.compute_dtype)
        squares = keras.ops.sum(keras.ops.square(kernel), axis=self._axes)
        kernel = kernel * (keras.ops.cast(self.g, self.compute_dtype) * keras.ops.rsqrt(squares + 1e-12))
        if isinstance(self.layer, keras.layers.Dense):
            y = keras.ops.matmul(x, kernel)
        else:
            y = keras.ops.conv(x, kernel, strides=1, padding=self.layer.padding)
        if self.layer.use_bias:
            y = y + keras.ops.cast(self.layer.bias, self.compute_dtype)
        return self.layer.activation(y)

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**{**config, "layer": layer})
