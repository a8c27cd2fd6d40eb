import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import ResidualMLP
from flowzoo.testing import perturb


def network_of(*args, context=None, moved=True, **kwargs):
    keras.utils.set_random_seed(0)
    network = ResidualMLP(*args, **kwargs)
    network.build((None, 3), (None, 2), None if context is None else (None, context))
    if moved:
        perturb(network, 0.3)
    return network


def test_it_starts_at_zero(rng):
    np.testing.assert_array_equal(network_of(8, moved=False)(rng.normal(size=(4, 3))), np.zeros((4, 2)))


def test_its_blocks_start_near_the_identity_and_differ(rng):
    network = network_of(8, moved=False)
    kernels = [layer.kernel.numpy() for block in network.inner for layer in block]
    for i in (1, 3):
        assert 0 < np.abs(kernels[i]).max() <= 1e-3
    assert np.any(kernels[0] != kernels[2])
    assert np.any(kernels[1] != kernels[3])


def test_it_is_the_composition_of_its_layers(rng):
    network = network_of(6, activation="tanh", context=2)
    x, context = rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(4, 2)).astype("f")
    kernel, bias = network.first.get_weights()
    h = x @ kernel + bias + context @ network.context_layer.get_weights()[0]
    for block in network.inner:
        (k1, b1), (k2, b2) = (layer.get_weights() for layer in block)
        h = h + np.tanh(np.tanh(h) @ k1 + b1) @ k2 + b2
    kernel, bias = network.last.get_weights()
    np.testing.assert_allclose(network(x, context=context), h @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_no_blocks_is_a_linear_map(rng):
    network = network_of(6, 0)
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_allclose(network(2 * x) - network(x), network(x) - network(0 * x), atol=1e-4)


def test_dropout_acts_while_training_only(rng):
    network = network_of(32, dropout=0.5)
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_array_equal(network(x), network(x))
    one, other = network(x, training=True), network(x, training=True)
    assert np.any(one.numpy() != other.numpy())


def test_context_broadcasts_over_sample_dimensions(rng):
    network = network_of(8, context=2)
    x, context = rng.normal(size=(5, 4, 3)).astype("f"), rng.normal(size=(4, 2)).astype("f")
    whole = network(x, context=context)
    for i in range(5):
        np.testing.assert_allclose(whole[i], network(x[i], context=context), rtol=1e-5, atol=1e-6)


def test_config_survives_json(rng):
    network = network_of(8, 1, activation="gelu", dropout=0.1)
    config = keras.saving.serialize_keras_object(network)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == network.get_config()
    copy.build((None, 3), (None, 2))
    copy.set_weights(network.get_weights())
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_array_equal(copy(x), network(x))


def test_it_runs_in_the_compute_dtype():
    network = network_of(8, dtype="mixed_bfloat16")
    assert network(tf.ones([2, 3])).dtype == tf.bfloat16
    assert {weight.dtype for weight in network.weights} == {"float32"}


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="units must be >= 1 and blocks >= 0; got 0 and 2"):
        ResidualMLP(0)
    with pytest.raises(ValueError, match=r"vectors; got event shape \(4, 4, 1\).*ConvNet"):
        ResidualMLP(8).build((None, 4, 4, 1), (None, 2))
