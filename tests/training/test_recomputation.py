import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo import create_model
from flowzoo.layers import AffineCoupling
from flowzoo.training import recomputation

SMALL = {"hidden_units": (16,), "dtype": "float64"}
FLOWS = {
    "realnvp": {"steps": 4, **SMALL},
    "maf": {"steps": 2, **SMALL},
    "iaf": {"steps": 2, **SMALL},
    "nsf": {"steps": 2, **SMALL},
    "planar": {"steps": 3, "dtype": "float64"},
    "radial": {"steps": 3, "dtype": "float64"},
}
IMAGES = {
    "realnvp": {"levels": 1, "channels": 8, "blocks": 1, "dtype": "float64"},
    "glow": {"levels": 2, "steps": 2, "channels": 8, "dtype": "float64"},
}


def moved(flow, scale=0.1):
    """The flow with random weights, so that no layer is the identity."""
    rng = np.random.default_rng(0)
    for weight in flow.trainable_variables:
        weight.assign_add(scale * rng.standard_normal(weight.shape))
    return flow


def gradients(flow, x, context, jit_compile, memory_efficient):
    """Mean log-density, and its gradients by the weights, the rows and the context."""
    flow.memory_efficient = memory_efficient
    variables = [weight.value for weight in flow.trainable_variables]
    inputs = [x] if context is None else [x, context]

    @tf.function(jit_compile=jit_compile)
    def run(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = tf.reduce_mean(flow.density.log_density(*inputs, training=True, noise_seed=[0, 1]))
        return value, tape.gradient(value, [*variables, *inputs], unconnected_gradients="zero")

    return run(*inputs)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("context_shape", [(3,), pytest.param(None, marks=pytest.mark.slow)])
def test_gradients_are_those_of_stored_activations(name, context_shape):
    jit_compile = name == "realnvp"
    flow = moved(create_model(name, (4,), context_shape, **FLOWS[name]))
    x = tf.random.stateless_normal([8, 4], [0, 1], dtype="float64")
    context = None if context_shape is None else tf.random.stateless_normal([8, 3], [0, 2], dtype="float64")
    value, stored = gradients(flow, x, context, jit_compile, False)
    again, recomputed = gradients(flow, x, context, jit_compile, True)
    np.testing.assert_allclose(again, value, rtol=1e-12)
    for want, got in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "context_shape"),
    [
        ("realnvp", None),
        pytest.param("glow", None, marks=pytest.mark.slow),
        pytest.param("glow", (3,), marks=pytest.mark.slow),
    ],
)
def test_scales_for_images(name, context_shape):
    flow = create_model(name, (8, 8, 1), context_shape, **IMAGES[name])
    x = tf.cast(tf.random.stateless_uniform([4, 8, 8, 1], [0, 1], 0, 256, tf.int32), "float64")
    context = None if context_shape is None else tf.random.stateless_normal([4, 3], [0, 2], dtype="float64")
    flow.adapt(x.numpy(), None if context is None else context.numpy())
    moved(flow, 0.01)
    value, stored = gradients(flow, x, context, False, False)
    again, recomputed = gradients(flow, x, context, False, True)
    np.testing.assert_allclose(again, value, rtol=1e-12)
    for want, got in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_only_the_latents_are_stored(monkeypatch):
    """Every layer but the first runs backwards once, and no layer's input is kept."""
    flow = moved(create_model("realnvp", (4,), steps=3, actnorm=False, hidden_units=(8,)))
    made = []
    bijector = AffineCoupling.bijector
    monkeypatch.setattr(
        AffineCoupling, "bijector", lambda self, *args: made.append(self) or bijector(self, *args)
    )
    x = tf.random.stateless_normal([8, 4], [0, 1])
    with tf.GradientTape() as tape:
        z, log_det = recomputation.encode(flow.transforms, x, None)
    assert len(made) == 3
    tape.gradient([z, log_det], [weight.value for weight in flow.trainable_variables])
    assert len(made) == 3 + 2 * 3 - 1


def test_fit_gives_the_same_losses():
    x = np.random.default_rng(0).standard_normal((256, 4)).astype("float32")
    losses = []
    for memory_efficient in (False, True):
        keras.utils.set_random_seed(0)
        flow = create_model("realnvp", (4,), steps=3, hidden_units=(16,))
        flow.compile("adam", memory_efficient=memory_efficient, jit_compile=False)
        losses.append(flow.fit(x, batch_size=64, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_dropout_is_refused():
    flow = create_model("realnvp", (4,), steps=2, hidden_units=(16,), dropout=0.1)
    with pytest.raises(ValueError, match="dropout"):
        flow.compile(memory_efficient=True)
