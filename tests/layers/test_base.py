"""All flow layers: configs, Keras's call, building."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo import layers
from flowzoo.conditioners import MLP, ConvNet
from flowzoo.testing import check_bijector, perturb


def convnet():
    return ConvNet(channels=4, blocks=1)


# Name -> constructor, event shape, range (low, high) of the latents. A new layer takes one line.
LAYERS = {
    "actnorm": (lambda: layers.ActNorm(), (3,), (-2, 2)),
    "actnorm-image": (lambda: layers.ActNorm(), (2, 2, 3), (-2, 2)),
    "coupling": (lambda: layers.AffineCoupling(MLP((4,))), (5,), (-2, 2)),
    "coupling-swap": (lambda: layers.AffineCoupling(MLP((4,)), swap=True, scale_bound=1.0), (4,), (-2, 2)),
    "coupling-additive": (lambda: layers.AffineCoupling(MLP((4,)), scale_bound=0), (3,), (-2, 2)),
    "coupling-channels": (lambda: layers.AffineCoupling(convnet()), (2, 2, 3), (-2, 2)),
    "coupling-checkerboard": (
        lambda: layers.AffineCoupling(convnet(), "checkerboard", swap=True),
        (4, 4, 1),
        (-2, 2),
    ),
    "multiscale": (
        lambda: layers.MultiScale([[layers.Squeeze(), layers.ActNorm()], [layers.ActNorm()]]),
        (4, 4, 1),
        (-2, 2),
    ),
    "permute": (lambda: layers.Permute(), (3,), (-2, 2)),
    "permute-list": (lambda: layers.Permute([2, 0, 1]), (3,), (-2, 2)),
    "standardize": (lambda: layers.Standardize(), (3,), (-2, 2)),
    "dequantize": (lambda: layers.Dequantize([0.5, 0.0, 2.0]), (3,), (-2, 2)),
    "logit": (lambda: layers.Logit(-1.0, 3.0, 0.01), (3,), (-2, 2)),
    "sigmoid": (lambda: layers.Sigmoid(), (3,), (0.05, 0.95)),
    "squeeze": (lambda: layers.Squeeze(), (4, 2, 3), (-2, 2)),
}


def build(name, dtype="float64"):
    make, event_shape, (low, high) = LAYERS[name]
    keras.config.set_dtype_policy(dtype)
    try:
        layer = make()
    finally:
        keras.config.set_dtype_policy("float32")
    layer.build((None, *event_shape))
    perturb(layer, 0.3)
    latent_shape = layer.latent_shape(event_shape)
    z = np.random.default_rng(4).uniform(low, high, (4, *latent_shape))
    return layer, tf.constant(z, dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_the_bijector_keeps_its_promises(name):
    layer, z = build(name)
    check_bijector(layer.bijector(), z)


@pytest.mark.parametrize("name", LAYERS)
def test_config_survives_json(name):
    layer, z = build(name, "float32")
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert type(copy) is type(layer)
    assert json.dumps(copy.get_config()) == json.dumps(layer.get_config())
    copy.build((None, *LAYERS[name][1]))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy.bijector().forward(z), layer.bijector().forward(z))


@pytest.mark.parametrize("name", LAYERS)
def test_from_config_leaves_the_config_as_it_was(name):
    layer, _ = build(name, "float32")
    config = layer.get_config()
    before = json.dumps(config)
    type(layer).from_config(config)
    assert json.dumps(config) == before


@pytest.mark.parametrize("name", LAYERS)
def test_called_as_a_keras_layer_it_maps_data_to_latents(name):
    layer, z = build(name, "float32")
    x = layer.bijector().forward(z)
    np.testing.assert_allclose(layer(x), z, atol=1e-4)
    assert layer.compute_output_shape((None, *LAYERS[name][1])) == (None, *z.shape[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_building_twice_keeps_the_weights(name):
    layer, _ = build(name, "float32")
    before = layer.get_weights()
    layer.build((None, *LAYERS[name][1]))
    for one, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", LAYERS)
def test_a_new_layer_adds_no_weight_when_it_is_called(name):
    layer, z = build(name, "float32")
    before = len(layer.variables)
    layer(layer.bijector().forward(z))
    assert len(layer.variables) == before
