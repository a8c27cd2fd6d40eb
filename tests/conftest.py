"""Fixtures that several test files use."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf

# The same examples in every run: a red run is a change's doing, never the dice's.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def assert_like_oracle():
    """Compares a fused bijector with one of TFP's: values and log-dets, both ways."""

    def check(bijector, oracle, z, tolerance=1e-9):
        z = tf.convert_to_tensor(z, bijector.dtype)
        latent_ndims, data_ndims = len(bijector.latent_shape), len(bijector.data_shape)
        x = oracle.forward(z)
        pairs = [
            (bijector.forward(z), x),
            (bijector.inverse(x), z),
            (
                bijector.forward_log_det_jacobian(z, latent_ndims),
                oracle.forward_log_det_jacobian(z, latent_ndims),
            ),
            (
                bijector.inverse_log_det_jacobian(x, data_ndims),
                oracle.inverse_log_det_jacobian(x, data_ndims),
            ),
        ]
        for ours, theirs in pairs:
            ours = np.broadcast_to(ours, np.broadcast_shapes(ours.shape, theirs.shape))
            theirs = np.broadcast_to(theirs, ours.shape)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)

    return check
