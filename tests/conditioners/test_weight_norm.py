import json

import keras
import numpy as np
import pytest

from flowzoo.conditioners import WeightNorm

CASES = {
    "dense": (lambda: keras.layers.Dense(4, activation="tanh"), (3,)),
    "conv": (lambda: keras.layers.Conv2D(4, 3, padding="same"), (4, 4, 3)),
}


@pytest.fixture(params=CASES)
def case(request, rng):
    make, shape = CASES[request.param]
    layer = WeightNorm(make())
    layer.build((None, *shape))
    return layer, rng.normal(size=(2, *shape)).astype(np.float32)


def test_it_starts_as_the_layer_it_wraps(case):
    layer, x = case
    np.testing.assert_allclose(layer(x), layer.layer(x), rtol=1e-5, atol=1e-6)


def test_the_length_of_the_direction_does_not_matter(case):
    layer, x = case
    before = layer(x)
    layer.layer.kernel.assign(7.0 * layer.layer.kernel.numpy())
    np.testing.assert_allclose(layer(x), before, rtol=1e-5, atol=1e-6)


def test_g_is_the_length_of_each_outputs_kernel(case):
    layer, x = case
    kernel = layer.layer.kernel.numpy()
    g = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    layer.g.assign(g)
    got = layer(x)
    lengths = np.sqrt((kernel**2).sum(tuple(range(kernel.ndim - 1))))
    layer.layer.kernel.assign(kernel * (g / lengths))
    np.testing.assert_allclose(got, layer.layer(x), rtol=1e-4, atol=1e-5)


def test_config_survives_json(case):
    layer, x = case
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    copy.build((None, *x.shape[1:]))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), layer(x))


def test_from_config_leaves_the_config_as_it_was(case):
    config = case[0].get_config()
    before = json.dumps(config)
    WeightNorm.from_config(config)
    assert json.dumps(config) == before
