"""A custom preprocessing layer: it fits and checks itself, and needs no other registration."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo import Flow, bijectors, testing
from flowzoo.layers import Preprocessing


@keras.saving.register_keras_serializable("tests")
class Log(Preprocessing):
    """Maps positive numbers to the real line: ``z = log(x / mean)``."""

    moments = "variance"

    def create_weights(self, event_shape, context_shape):
        self.scale = self.add_weight(name="scale", shape=event_shape, initializer="ones", trainable=False)

    def check_range(self, moments):
        if moments.minimum.min() <= 0:
            raise ValueError(f"x must be positive; its least value is {moments.minimum.min():g}.")

    def fit_moments(self, moments):
        self.scale.assign(moments.mean)

    def bijector(self, context=None, training=False):
        return bijectors.Chain(
            [LogBijector(self.scale.value, self.event_shape, self.variable_dtype)],
            self.event_shape,
            dtype=self.variable_dtype,
        )


class LogBijector(bijectors.FusedBijector):
    def __init__(self, scale, event_shape, dtype):
        self._scale = scale
        super().__init__(event_shape, event_shape, dtype=dtype)

    def _forward_and_log_det(self, z):
        return self._scale * tf.exp(z), tf.reduce_sum(z + tf.math.log(self._scale), axis=-1)

    def _inverse_and_log_det(self, x):
        z = tf.math.log(x / self._scale)
        return z, -tf.reduce_sum(z + tf.math.log(self._scale), axis=-1)


@pytest.fixture
def flow():
    flow = Flow([], (2,), preprocessing=[Log(dtype="float64")], dtype="float64")
    flow.use_xla = False
    return flow


def test_it_is_fitted_and_counts_in_the_density(flow, rng):
    x = np.exp(rng.normal(3.0, 0.5, (500, 2)))
    flow.adapt(x)
    np.testing.assert_allclose(flow.preprocessing[0].scale, x.mean(0))
    z = np.log(x / x.mean(0))
    expected = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(x)).sum(1)
    np.testing.assert_allclose(flow.log_prob(x), expected)


def test_it_checks_the_range_before_anything_is_fitted(flow):
    with pytest.raises(ValueError, match="x must be positive; its least value is -1"):
        flow.fit(np.array([[1.0, 2.0], [-1.0, 3.0]]), verbose=0)
    assert float(flow.adapted.numpy()) == 0.0


def test_its_log_det_is_the_jacobians(flow, rng):
    x = tf.constant(np.exp(rng.normal(size=(5, 2))))
    _, log_det = flow.bijector().inverse_and_log_det(x)
    np.testing.assert_allclose(log_det, testing.log_det_by_autodiff(lambda x: flow.bijector().inverse(x), x))
