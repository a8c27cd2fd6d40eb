"""LULinear: a learned invertible linear map of columns or channels; on images, the 1x1 convolution."""

from __future__ import annotations

import keras
import numpy as np
import scipy.linalg
import tensorflow as tf

from flowzoo.bijectors import Linear
from flowzoo.layers.base import FlowLayer

_INITS = ("identity", "rotation")


@keras.saving.register_keras_serializable("flowzoo")
class LULinear(FlowLayer):
    """``z = W x + bias`` on the last axis, ``W = P L (U + diag(s))`` (Kingma and Dhariwal 2018, eq. 11).

    L, U and ``log|s|`` are learned, packed in one weight ``lu`` of the shape of W; P and the signs of s are
    fixed. See `flowzoo.bijectors.Linear`.

    Args:
        init: "identity" (as between the steps of NSF) or "rotation", a random rotation (as in Glow).
        use_bias: Whether there is a bias; next to an `ActNorm` it is redundant.
        seed: Seed of the random rotation.

    Raises:
        ValueError: On an unknown `init`.

    Example:
        >>> from flowzoo.layers import LULinear
        >>> layer = LULinear("rotation")
        >>> layer.build((None, 8))
        >>> layer.bijector().inverse_and_log_det(tf.ones([5, 8]))[0].shape.as_list()
        [5, 8]
    """

    def __init__(self, init: str = "identity", use_bias: bool = True, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        if init not in _INITS:
            raise ValueError(f"init must be one of {_INITS}; got {init!r}.")
        self.init = init
        self.use_bias = use_bias
        self.seed = seed

    def create_weights(self, event_shape, context_shape):
        size = event_shape[-1]
        self.signs, self.permutation = None, None
        lu = np.zeros((size, size))
        if self.init == "rotation":
            lu, order = _lu(_rotation(size, self.seed))
            diagonal = np.diag(lu).copy()
            np.fill_diagonal(lu, np.log(np.abs(diagonal)))
            # Stored as weights, not recomputed from the seed, so that a loaded flow has the same values.
            self.signs = self._fixed("signs", np.sign(diagonal), self.variable_dtype)
            self.permutation = self._fixed("permutation", np.argsort(order), "int32")
        self.lu = self.add_weight(name="lu", shape=(size, size), initializer=_constant(lu))
        self.bias = (
            self.add_weight(name="bias", shape=(size,), initializer="zeros") if self.use_bias else None
        )

    def _fixed(self, name, value, dtype):
        return self.add_weight(
            name=name, shape=value.shape, dtype=dtype, initializer=_constant(value), trainable=False
        )

    def bijector(self, context=None, training=False):
        weights = {"signs": self.signs, "permutation": self.permutation, "bias": self.bias}
        return Linear(
            self.lu.value,
            self.event_shape,
            **{key: None if weight is None else weight.value for key, weight in weights.items()},
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {**super().get_config(), "init": self.init, "use_bias": self.use_bias, "seed": self.seed}


def _constant(value):
    """An initializer that returns this array."""
    return lambda shape, dtype=None: tf.constant(value, dtype)


def _rotation(size, seed):
    """A random orthogonal matrix, uniform over all of them (because of the signs of R)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _lu(matrix):
    """Packed factors with partial pivoting, and the order of rows: ``matrix[order] = L @ U``."""
    packed, pivots = scipy.linalg.lu_factor(matrix)
    order = np.arange(len(matrix))
    for row, pivot in enumerate(pivots):
        order[[row, pivot]] = order[[pivot, row]]
    return packed, order
