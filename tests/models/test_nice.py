"""NICE by name: couplings that preserve volume, and one scaling of the latents."""

import math

import keras
import numpy as np
import pytest

import flowzoo
from flowzoo import layers, testing

VECTOR = {"steps": 3, "hidden_units": (8,)}
IMAGE = {"levels": 1, "channels": 4, "blocks": 0}


def nice(event, context=None, **options):
    small = VECTOR if len(event) == 1 else IMAGE
    return testing.make_flow("nice", event, context, **{**small, **options})


@pytest.mark.parametrize(("event", "context"), [((5,), None), ((5,), (2,)), ((4, 4, 1), None)])
def test_only_the_scaling_changes_the_volume(event, context):
    flow = nice(event, context, preprocessing="none")
    z = np.random.default_rng(0).normal(size=(6, math.prod(event)))
    _, log_det = flow.bijector(testing.contexts(flow, 6)).forward_and_log_det(
        z.reshape(6, *flow.latent_shape)
    )
    scaling = flow.transforms[-1]
    assert isinstance(scaling, layers.ActNorm)
    assert scaling.log_scale.shape == flow.latent_shape
    wanted = np.sum(scaling.log_scale.numpy())
    np.testing.assert_allclose(np.broadcast_to(log_det, [6]), wanted, rtol=1e-9)


def test_adapt_scales_the_latents():
    x = np.random.default_rng(0).normal(3.0, [2.0, 0.1, 5.0], (500, 3))
    flow = flowzoo.create_model("nice", (3,), preprocessing="none", **VECTOR)
    flow.adapt(x)
    z = flow.encode(x).numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-3)


def test_fit_learns_a_curved_density():
    x = np.random.default_rng(0).normal(size=(2000, 2))
    x[:, 1] = x[:, 0] ** 2 + 0.3 * x[:, 1]
    flow = flowzoo.create_model("nice", (2,), steps=4, hidden_units=(32,))
    flow.compile(keras.optimizers.Adam(5e-3))
    flow.adapt(x)
    before = float(np.mean(flow.log_prob(x)))
    flow.fit(x, batch_size=200, epochs=10, verbose=0)
    # The entropy is 1.63 nats, which a shear reaches.
    assert float(np.mean(flow.log_prob(x))) > max(before + 0.3, -2.0)


def test_odd_images_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 2\*\*levels"):
        flowzoo.create_model("nice", (5, 5, 1))
