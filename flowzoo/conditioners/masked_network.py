"""MaskedNetwork: the structure of a MADE and its pass as a function of weights (Germain et al. 2015)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Weights:
    """Current weights of a MADE as tensors: what its passes are functions of.

    Attributes:
        kernels: One ``[inputs, outputs]`` for each masked product, not masked.
        biases: One ``[outputs]`` for each product.
        context_kernels: One ``[context, outputs]`` for each product but the last; empty without a context.
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


class MaskedNetwork:
    """Degrees, masks and passes of a network whose outputs for column i depend on the columns before it.

    Args:
        columns: D, the number of inputs.
        parameters: Number of outputs per column.
        hidden_units: Widths of the hidden layers.
        lowest: Least degree of a hidden unit: 1, or 0 with a context, which all units see.
        residual: Whether pairs of hidden layers are pre-activation residual blocks.
        activation: The activation function.
        compute_dtype: Dtype of the products.

    Attributes:
        degrees: Degrees of inputs, of each hidden layer (ascending) and of outputs, as numbers to compare.
            Units of degree i+1 and above see input i; output i sees units of degree i and below.
        masks: 0 or 1 for each entry of each kernel.
        blocks: For each product ``(begin, end, inputs)``: outputs begin to end see only the first
            `inputs`.
        steps: Number of columns that the degrees of hidden units spread over.
    """

    def __init__(
        self,
        columns: int,
        parameters: int,
        hidden_units: tuple[int, ...],
        lowest: int,
        residual: bool,
        activation: Callable,
        compute_dtype: str,
    ):
        self.columns, self.parameters, self.lowest = columns, parameters, lowest
        self.residual, self.activation, self.compute_dtype = residual, activation, compute_dtype
        self.steps = max(columns - lowest, 1)
        hidden = [lowest + (np.arange(units) * self.steps) // units for units in hidden_units]
        # One row of outputs per parameter, with the columns in it.
        outputs = np.tile(np.arange(columns), parameters)
        self.degrees = [np.arange(1, columns + 1), *hidden, outputs]
        self.masks = [
            (before[:, None] <= after[None, :]).astype(np.float32)
            for before, after in itertools.pairwise(self.degrees)
        ]
        self.blocks = [_blocks(mask) for mask in self.masks]

    def apply(self, product: Callable, x, activate: Callable | None = None):
        """The network over an abstract masked product; full and stepwise passes share it.

        Args:
            product: ``product(i, h)`` is the i-th masked product of h, plus bias and context.
            x: Argument of the first product.
            activate: Replaces the activation (to record derivatives, or to drop units out).
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

        flat = self.apply(product, tf.cast(x, self.compute_dtype), activate)
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], [self.parameters, self.columns]], axis=0))

    def _masked_product(self, i, h, kernel):
        """Computes outputs in blocks, each from the inputs that it sees, which skips most masked zeros."""

        def product(begin, end, inputs):
            mask = tf.constant(self.masks[i][:inputs, begin:end], kernel.dtype)
            return tf.linalg.matmul(h[..., :inputs], kernel[:inputs, begin:end] * mask)

        if len(self.blocks[i]) == 1:
            return tf.linalg.matmul(h, kernel * tf.constant(self.masks[i], kernel.dtype))
        return tf.concat([product(*block) for block in self.blocks[i]], axis=-1)


def _blocks(mask):
    """``(begin, end, inputs)``: outputs from begin to end see only the first `inputs`.

    With four blocks a product of two wide hidden layers takes 5/8 of the kernel. Narrow ones stay whole.
    """
    count = max(1, min(4, min(mask.shape) // 128))
    edges = np.linspace(0, mask.shape[1], count + 1).astype(int)
    last = np.where(mask.any(0), mask.shape[0] - mask[::-1].argmax(0), 1)
    return [(int(a), int(b), int(last[a:b].max())) for a, b in itertools.pairwise(edges)]
