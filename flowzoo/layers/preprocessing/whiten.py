"""Whiten: columns to mean 0, variance 1 and no correlations."""

from __future__ import annotations

import keras
import numpy as np

from flowzoo import bijectors
from flowzoo.data.moments import Moments
from flowzoo.layers.preprocessing.base import Preprocessing, check_columns_vary
from flowzoo.layers.preprocessing.standardize import Standardize
from flowzoo.utils.messages import Argument, Message


@keras.saving.register_keras_serializable("flowzoo")
class Whiten(Preprocessing):
    """Maps columns to mean 0, variance 1 and no correlations, by the moments of the training data.

    ``z = A (x - mean) / std``: each column loses its linear regression on the columns before it, and the
    residual is scaled to variance 1; A is the inverse of the Cholesky factor of the correlations. Use it for
    columns that nearly determine each other: where the data are a thousand times thinner in one direction
    than in others, a flow of standardized columns spends its layers, and its training, on that direction.

    The identity until `Flow.adapt` has read the data. The moments are those of all rows, not of a batch.

    Raises:
        ValueError: If events are not vectors.

    Example:
        >>> import numpy as np
        >>> from flowzoo.layers import Whiten
        >>> layer = Whiten()
        >>> layer.build((None, 2))
        >>> layer.set_moments(np.zeros(2), np.array([[1.0, 0.6], [0.6, 1.0]]))
        >>> layer(np.array([[1.0, 0.6], [0.0, 0.8]], "float32")).numpy().round(3).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    moments = "covariance"

    # The smallest residual of a column, relative to its standard deviation, that float32 resolves.
    _least = 1e-5

    def create_weights(self, event_shape, context_shape):
        if len(event_shape) != 1:
            raise ValueError(f"Whiten takes vectors, events of shape (D,); got {event_shape}.")
        self.standardize = Standardize(dtype=self.dtype_policy)
        self.standardize.build((None, *event_shape))
        # A, packed as `flowzoo.bijectors.Linear` takes it.
        self.lu = self.add_weight(name="lu", shape=event_shape * 2, initializer="zeros", trainable=False)

    def fit_moments(self, moments: Moments) -> None:
        check_columns_vary(moments)
        self.set_moments(moments.mean, moments.covariance)

    def set_moments(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """Sets mean ``[D]`` and covariance ``[D, D]``.

        Raises:
            ValueError: If a column is a linear combination of the columns before it.
        """
        variance = np.diag(covariance)
        std = np.sqrt(np.where(variance > 0, variance, 1.0))
        # The small diagonal keeps the matrix positive definite despite rounding; it is below what is refused.
        correlations = covariance / np.outer(std, std) + 1e-12 * np.eye(len(std))
        factor = np.linalg.cholesky(correlations)
        residual = np.diag(factor)
        if np.min(residual) < self._least:
            column = int(np.argmin(residual))
            raise ValueError(
                Message(
                    "Column {column} of x is a linear combination of columns before it: what it adds is "
                    "{share:.1g} of its standard deviation. A density there runs to infinity: drop the "
                    "column, or say what step its values are rounded to with {step}.",
                    column=column,
                    share=residual[column],
                    step=Argument("dequantize"),
                )
            )
        inverse = np.linalg.inv(factor)
        scale = np.diag(inverse)
        self.standardize.set_moments(mean, variance)
        self.lu.assign(np.tril(inverse / scale, -1) + np.diag(np.log(scale)))

    def entrywise(self):
        return self.standardize.bijector()

    def mixing(self):
        return bijectors.Linear(self.lu.value, self.event_shape, dtype=self.variable_dtype)

    def bijector(self, context=None, training=False):
        return bijectors.Chain(
            [self.entrywise(), self.mixing()], self.event_shape, dtype=self.variable_dtype, name=self.name
        )
