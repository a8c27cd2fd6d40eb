"""Conv2D: Keras's layer, by matrix products where XLA compiles it for a CPU."""

from __future__ import annotations

import itertools

import keras
import tensorflow as tf

from flowzoo.backend import xla


@keras.saving.register_keras_serializable("flowzoo")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, computed by matrix products if it is narrow and XLA compiles it for a CPU.

    XLA's convolutions are slow on a CPU, and those of a graph pad few channels to sixteen; the conditioners
    of Glow go from few channels to many and back. From few to many, one product takes the concatenated
    neighbours of each pixel. From many to few, one product gives the contribution of each pixel to each
    neighbour, and the contributions to a pixel are summed. Everywhere else it is Keras's own convolution.
    """

    @property
    def is_narrow(self) -> bool:
        """Whether products are faster: one side has at most 3/4 of the other's channels, or it is 1x1."""
        inputs, outputs = self.kernel.shape[2:]
        fewer, more = min(inputs, outputs), max(inputs, outputs)
        alone = self.kernel_size == (1, 1)
        return self.compute_dtype == self.variable_dtype and (alone or 4 * fewer <= 3 * more)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The convolution alone, without bias and activation."""
        if not self.is_narrow or xla.on_gpu() or not xla.is_compiling():
            return super().convolution_op(inputs, kernel)
        if self.kernel_size == (1, 1):
            return _product(inputs, kernel[0, 0])
        if kernel.shape[2] <= kernel.shape[3]:
            return _of_neighbours(inputs, kernel)
        return _to_neighbours(inputs, kernel)


def _of_neighbours(x, kernel):
    """``[N, H, W, inputs]`` to ``[N, H, W, outputs]``, by one product of the concatenated neighbours."""
    columns = tf.concat(_shifted(x, itertools.repeat(slice(None)), kernel), axis=-1)
    return _product(columns, tf.reshape(kernel, [-1, kernel.shape[-1]]))


def _to_neighbours(x, kernel):
    """The same, by one product with a block of outputs for each neighbour."""
    height, width, inputs, outputs = kernel.shape
    y = _product(x, tf.reshape(tf.transpose(kernel, [2, 0, 1, 3]), [inputs, -1]))
    channels = [slice(i * outputs, (i + 1) * outputs) for i in range(height * width)]
    return tf.add_n(_shifted(y, channels, kernel))


def _shifted(x, channels, kernel):
    """For each entry of the kernel, channels of the pixels that it sees; zeros beyond the border."""
    height, width = x.shape[1:3]
    above, left = (kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2
    below, right = kernel.shape[0] - 1 - above, kernel.shape[1] - 1 - left
    padded = tf.pad(x, [[0, 0], [above, below], [left, right], [0, 0]])
    places = [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
    return [
        padded[:, i : i + height, j : j + width, part] for (i, j), part in zip(places, channels, strict=False)
    ]


def _product(x, matrix):
    """``x @ matrix`` over the last axis."""
    y = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), matrix)
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [matrix.shape[-1]]], axis=0))
