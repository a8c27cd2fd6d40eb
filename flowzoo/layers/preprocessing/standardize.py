"""Standardize: each column to mean 0 and variance 1."""

from __future__ import annotations

import keras
import numpy as np

from flowzoo import bijectors
from flowzoo.data.moments import Moments
from flowzoo.layers.preprocessing.base import Preprocessing, check_columns_vary


@keras.saving.register_keras_serializable("flowzoo")
class Standardize(Preprocessing):
    """Maps each column to mean 0 and variance 1, by the moments of the training data.

    The identity until `Flow.adapt` has read the data. The moments are those of all rows, not of a batch.
    """

    moments = "variance"

    def create_weights(self, event_shape, context_shape):
        self.mean = self.add_weight(name="mean", shape=event_shape, initializer="zeros", trainable=False)
        self.log_std = self.add_weight(
            name="log_std", shape=event_shape, initializer="zeros", trainable=False
        )

    def fit_moments(self, moments: Moments) -> None:
        check_columns_vary(moments)
        self.set_moments(moments.mean, moments.variance)

    def set_moments(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Sets mean and variance, each of the event shape."""
        self.mean.assign(mean)
        self.log_std.assign(0.5 * np.log(np.where(variance > 0, variance, 1.0)))

    def bijector(self, context=None, training=False):
        return bijectors.Affine(
            self.mean.value,
            self.log_std.value,
            self.event_shape,
            dtype=self.variable_dtype,
            name=self.name,
        )
