"""MADE: masked networks, in one pass or one column at a time (Germain et al. 2015)."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from flowzoo.conditioners.dropout import Dropout
from flowzoo.conditioners.made_sweeps import ForwardSweep, ReverseSweep
from flowzoo.conditioners.masked_network import MaskedNetwork, Weights
from flowzoo.conditioners.residual_mlp import check_residual_widths
from flowzoo.conditioners.stepwise import StepwiseConditioner


@keras.saving.register_keras_serializable("flowzoo")
class MADE(StepwiseConditioner):
    """Computes parameters of column i from columns before i (Germain et al. 2015); ResMADE with `residual`.

    Hidden units are ordered by degree: a unit of degree d sees the first d columns. So the units of
    degree i can be computed as soon as i columns are known, and both solvers cost about one pass (ADR 4).
    Masks multiply the kernels in every pass, so no update of the weights can break the order.

    Args:
        hidden_units: Widths of the hidden layers. A residual network takes an odd number of equal widths: one
            for the input layer and two for each block (Durkan et al. 2019, appendix B.1; Nash and Durkan
            2019).
        activation: A Keras activation.
        residual: Whether to use pre-activation residual blocks of two layers.
        dropout: Dropout rate after each activation of the full pass, in training only.

    Raises:
        ValueError: If the widths do not make a network.
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
        if residual:
            check_residual_widths(self.hidden_units)
        self.activation = keras.activations.get(activation)
        self.residual = residual
        self.dropout = dropout

    def create_weights(self, input_shape, output_shape, context_shape):
        if len(input_shape) != 1 or output_shape[0] != input_shape[0]:
            raise ValueError(f"MADE maps (D,) to (D, parameters); got {input_shape} and {output_shape}.")
        self.columns, parameters = output_shape
        self.network = MaskedNetwork(
            self.columns,
            parameters,
            self.hidden_units,
            lowest=0 if context_shape is not None else 1,
            residual=self.residual,
            activation=self.activation,
            compute_dtype=self.compute_dtype,
        )
        self.drop = Dropout(self.dropout, dtype=self.dtype_policy) if self.dropout else None
        self.kernels, self.biases, self.context_kernels = [], [], []
        masks = self.network.masks
        for i, mask in enumerate(masks):
            last = i == len(masks) - 1
            start = "zeros" if last else _masked_spread_out(mask)
            self.kernels.append(self._weight(f"kernel_{i}", mask.shape, start))
            self.biases.append(self._weight(f"bias_{i}", mask.shape[1:], start))
            if context_shape is not None and not last:
                shape = (*context_shape, mask.shape[1])
                # Starts small, so that the context does not dominate the columns.
                context = keras.initializers.RandomNormal(stddev=0.1)
                self.context_kernels.append(self._weight(f"context_kernel_{i}", shape, context))

    def _weight(self, name, shape, initializer):
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def weights_now(self):
        weights = [*self.kernels, *self.biases, *self.context_kernels]
        return [tf.cast(weight.value, self.compute_dtype) for weight in weights]

    def _unflatten(self, tensors):
        return Weights.unflatten(list(tensors), len(self.network.masks))

    def full_pass(self, weights, x, context):
        return self.network.full_pass(self._unflatten(weights), x, context)

    def solve(self, weights, context, far, map_column):
        return ForwardSweep(self.network, self._unflatten(weights), context, map_column).solve(far)

    def solve_transposed(self, weights, context, known, map_known, v):
        weights, slopes = self._unflatten(weights), []

        def activate(h):
            with tf.GradientTape() as tape:
                tape.watch(h)
                y = self.activation(h)
            slopes.append(tf.transpose(tape.gradient(y, h)))
            return y

        parameters = tf.cast(self.network.full_pass(weights, known, context, activate), known.dtype)
        with tf.GradientTape() as tape:
            tape.watch([known, parameters])
            far = map_known(parameters, known)
        # The map is elementwise, so the gradient of the sum is the diagonal.
        by_known, by_parameters = tape.gradient(far, [known, parameters])
        by_parameters = tf.transpose(by_parameters, [2, 1, 0])
        by_parameters = tf.reshape(by_parameters, [-1, tf.shape(known)[0]])
        return ReverseSweep(self.network, weights, tf.transpose(by_known), by_parameters, slopes).solve(v)

    def call(self, x, context=None, training=False):
        drop = self.drop if training else None
        activate = None if drop is None else lambda h: drop(self.activation(h), training=True)
        return self.network.full_pass(self._unflatten(self.weights_now()), x, context, activate)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "residual": self.residual,
            "dropout": self.dropout,
        }


def _masked_spread_out(mask):
    """`spread_out` by the number of inputs that each unit sees."""

    def initializer(shape, dtype=None):
        bounds = np.maximum(mask.sum(0), 1.0) ** -0.5
        return keras.random.uniform(shape, -1.0, 1.0, dtype) * keras.ops.convert_to_tensor(bounds, dtype)

    return initializer
