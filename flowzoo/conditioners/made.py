"""MADE: masked networks, in one pass or one column at a time (Germain et al. 2015)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from flowzoo.conditioners.base import Conditioner
from flowzoo.conditioners.dropout import Dropout


@dataclass(frozen=True)
class Weights:
    """A MADE's current weights as tensors: what its passes are functions of.

    Attributes:
        kernels: One ``[inputs, outputs]`` for each masked product, not masked.
        biases: One ``[outputs]`` for each.
        context_kernels: One ``[context, outputs]`` for each product but the last, or none.
    """

    kernels: list[tf.Tensor]
    biases: list[tf.Tensor]
    context_kernels: list[tf.Tensor]

    def flat(self) -> list[tf.Tensor]:
        """All tensors, for `unflatten`."""
        return [*self.kernels, *self.biases, *self.context_kernels]

    @classmethod
    def unflatten(cls, tensors: list[tf.Tensor], products: int) -> Weights:
        """Undoes `flat`."""
        kernels, biases = tensors[:products], tensors[products : 2 * products]
        return cls(kernels, biases, tensors[2 * products :])


@keras.saving.register_keras_serializable("flowzoo")
class MADE(Conditioner):
    """Parameters of column i from columns before i (Germain et al. 2015); ResMADE with `residual`.

    Hidden units are ordered by degree: a unit of degree d sees the first d columns. So the units of
    degree i can be computed as soon as i columns are known, which is what the stepwise passes in
    `flowzoo.bijectors.masked_autoregressive` do. Masks multiply the kernels in every pass; nothing that
    an optimizer does can break the order.

    Args:
        hidden_units: Widths. Residual networks take equal ones: the first is that of the input layer, and
            each two more make a block (Durkan et al. 2019, appendix B.1; Nash and Durkan 2019).
        activation: A Keras activation.
        residual: Pre-activation residual blocks of two layers.
        dropout: Rate after each activation of the full pass, while training only.
    """

    def __init__(
        self,
        hidden_units=(128, 128),
        activation="relu",
        residual: bool = False,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_units = tuple(int(units) for units in hidden_units)
        if not self.hidden_units or min(self.hidden_units) < 1:
            raise ValueError(f"hidden_units must hold positive widths; got {hidden_units!r}.")
        if residual and (len(set(self.hidden_units)) > 1 or len(self.hidden_units) % 2 == 0):
            raise ValueError(
                "A residual MADE takes an odd number of equal widths: one for the input layer and two for "
                f"each block, such as (128, 128, 128); got {self.hidden_units}."
            )
        self.activation = keras.activations.get(activation)
        self.residual = residual
        self.dropout = dropout

    def create_weights(self, input_shape, output_shape, context_shape):
        if len(input_shape) != 1 or output_shape[0] != input_shape[0]:
            raise ValueError(f"MADE maps (D,) to (D, parameters); got {input_shape} and {output_shape}.")
        columns, self.parameters = output_shape
        degrees = self._degrees(columns, lowest=0 if context_shape is not None else 1)
        self.masks = [
            (before[:, None] <= after[None, :]).astype(np.float32)
            for before, after in itertools.pairwise(degrees)
        ]
        self.blocks = [_blocks(mask) for mask in self.masks]
        self.columns, self.degrees = columns, degrees
        self.drop = Dropout(self.dropout, dtype=self.dtype_policy) if self.dropout else None
        self.kernels, self.biases, self.context_kernels = [], [], []
        for i, mask in enumerate(self.masks):
            last = i == len(self.masks) - 1
            start = "zeros" if last else _masked_spread_out(mask)
            self.kernels.append(self._weight(f"kernel_{i}", mask.shape, start))
            self.biases.append(self._weight(f"bias_{i}", mask.shape[1:], start))
            if context_shape is not None and not last:
                shape = (*context_shape, mask.shape[1])
                # Starts small: at first the context must not drown the columns.
                context = keras.initializers.RandomNormal(stddev=0.1)
                self.context_kernels.append(self._weight(f"context_kernel_{i}", shape, context))

    def _weight(self, name, shape, initializer):
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def _degrees(self, columns, lowest):
        """Degrees of inputs, of each hidden layer (ascending) and of outputs, as numbers to compare.

        Input i is seen by units of degree i+1 and more, output i sees units of degree i and less.
        """
        self.lowest, self.steps = lowest, max(columns - lowest, 1)
        hidden = [lowest + (np.arange(units) * self.steps) // units for units in self.hidden_units]
        # One output row for each parameter of each column, parameters outermost.
        outputs = np.tile(np.arange(columns), self.parameters)
        return [np.arange(1, columns + 1), *hidden, outputs]

    def weights_now(self) -> Weights:
        """The current weights in the compute dtype; the passes mask the kernels."""
        dtype = self.compute_dtype
        kernels = [tf.cast(kernel.value, dtype) for kernel in self.kernels]
        biases = [tf.cast(bias.value, dtype) for bias in self.biases]
        contexts = [tf.cast(kernel.value, dtype) for kernel in self.context_kernels]
        return Weights(kernels, biases, contexts)

    def network(self, product: Callable, x, activate: Callable | None = None):
        """The network over an abstract masked product: the full and the stepwise pass are both this.

        Args:
            product: ``product(i, h)`` is the i-th masked product of h, plus bias and context.
            x: Whatever the first product takes.
            activate: Replaces the activation (to record derivatives).
        """
        activate = activate or self.activation
        h, last = product(0, x), len(self.masks) - 1
        if self.residual:
            for i in range(1, last, 2):
                h = h + product(i + 1, activate(product(i, activate(h))))
        else:
            for i in range(1, last):
                h = product(i, activate(h))
        return product(last, activate(h))

    def full_pass(self, weights: Weights, x: tf.Tensor, context: tf.Tensor | None, activate=None):
        """Parameters ``[..., parameters, columns]`` of all columns from x ``[..., columns]`` at once."""
        if x.shape.rank == 1:  # one row, as TFP's distributions pass it
            return self.full_pass(weights, x[None], context, activate)[0]

        def product(i, h):
            y = self._masked_product(i, h, weights.kernels[i]) + weights.biases[i]
            if weights.context_kernels and i < len(self.masks) - 1:
                y += tf.linalg.matmul(tf.cast(context, y.dtype), weights.context_kernels[i])
            return y

        flat = self.network(product, tf.cast(x, self.compute_dtype), activate)
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], [self.parameters, self.columns]], axis=0))

    def _masked_product(self, i, h, kernel):
        """The outputs in blocks, each from no more inputs than it sees: most of the zeros are left out."""

        def product(begin, end, inputs):
            mask = tf.constant(self.masks[i][:inputs, begin:end], kernel.dtype)
            return tf.linalg.matmul(h[..., :inputs], kernel[:inputs, begin:end] * mask)

        if len(self.blocks[i]) == 1:
            return tf.linalg.matmul(h, kernel * tf.constant(self.masks[i], kernel.dtype))
        return tf.concat([product(*block) for block in self.blocks[i]], axis=-1)

    def call(self, x, context=None, training=False):
        drop = self.drop if training else None
        activate = None if drop is None else lambda h: drop(self.activation(h), training=True)
        return self.full_pass(self.weights_now(), x, context, activate)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "residual": self.residual,
            "dropout": self.dropout,
        }


def _blocks(mask):
    """``(begin, end, inputs)``: outputs from begin to end see the first `inputs` alone.

    Of four blocks a product of two wide hidden layers takes 5/8 of the kernel. Narrow ones stay whole.
    """
    count = max(1, min(4, min(mask.shape) // 128))
    edges = np.linspace(0, mask.shape[1], count + 1).astype(int)
    last = np.where(mask.any(0), mask.shape[0] - mask[::-1].argmax(0), 1)
    return [(int(a), int(b), int(last[a:b].max())) for a, b in itertools.pairwise(edges)]


def _masked_spread_out(mask):
    """As `spread_out`, by the inputs that each unit really has."""

    def initializer(shape, dtype=None):
        bounds = np.maximum(mask.sum(0), 1.0) ** -0.5
        return keras.random.uniform(shape, -1.0, 1.0, dtype) * keras.ops.convert_to_tensor(bounds, dtype)

    return initializer
