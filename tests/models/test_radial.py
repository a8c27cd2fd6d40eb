"""Radial flows by name: they learn from data and invert in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.data import toy


@pytest.mark.parametrize("closed", ["inverse", "forward"])
def test_fit_learns_from_data_and_float32_inverts(closed):
    x, _ = toy.sample("eight_gaussians", 4000, seed=0)
    flow = flowzoo.create_model("radial", (2,), steps=6, closed=closed)
    flow.compile(keras.optimizers.Adam(2e-2))
    flow.adapt(x)
    x = tf.constant(x)
    before = np.mean(flow.density.log_density(x))
    flow.fit(x, batch_size=200, epochs=10, verbose=0)
    assert np.mean(flow.density.log_density(x)) > before + 0.1
    np.testing.assert_allclose(flow.density.decode_rows(flow.density.encode_rows(x)), x, atol=1e-4)
    z = tf.constant(np.random.default_rng(0).normal(size=(1000, 2)), tf.float32)
    np.testing.assert_allclose(flow.density.encode_rows(flow.density.decode_rows(z)), z, atol=1e-4)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"radial takes events of shape \(D,\)"):
        flowzoo.create_model("radial", (4, 4, 1))
