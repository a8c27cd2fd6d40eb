import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import MLP
from flowzoo.testing import perturb


def mlp(*args, context=None, moved=True, inputs=3, **kwargs):
    keras.utils.set_random_seed(0)
    network = MLP(*args, **kwargs)
    network.build((None, inputs), (None, 2), None if context is None else (None, context))
    if moved:
        perturb(network, 0.3)
    return network


def test_it_starts_at_zero(rng):
    np.testing.assert_array_equal(mlp((8, 8), moved=False)(rng.normal(size=(4, 3))), np.zeros((4, 2)))


def test_hidden_units_bend_at_different_places():
    first, second = mlp((64, 64), inputs=1, moved=False).hidden
    places = -first.bias.numpy() / first.kernel.numpy()[0]
    assert np.abs(first.bias).max() <= 1.0
    assert (np.abs(places) < 1.0).mean() == pytest.approx(0.5, abs=0.2)
    assert len(np.unique(places)) == 64
    assert np.abs(second.kernel).max() <= 1 / 8


def test_it_is_the_composition_of_its_layers(rng):
    network = mlp((8, 5), activation="tanh", context=2)
    x, context = rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(4, 2)).astype("f")
    (k1, b1), (k2, b2) = (layer.get_weights() for layer in network.hidden)
    h = np.tanh(x @ k1 + b1 + context @ network.context_layer.get_weights()[0])
    k3, b3 = network.last.get_weights()
    wanted = np.tanh(h @ k2 + b2) @ k3 + b3
    np.testing.assert_allclose(network(x, context=context), wanted, rtol=1e-5, atol=1e-6)


def test_residual_adds_each_layer_to_its_input(rng):
    network = mlp((6, 6), activation="tanh", residual=True)
    x = rng.normal(size=(4, 3)).astype("f")
    (k1, b1), (k2, b2) = (layer.get_weights() for layer in network.hidden)
    h = np.tanh(x @ k1 + b1)
    h = h + np.tanh(h @ k2 + b2)
    k3, b3 = network.last.get_weights()
    np.testing.assert_allclose(network(x), h @ k3 + b3, rtol=1e-5, atol=1e-6)


def test_residual_skips_layers_of_another_width(rng):
    plain, residual = mlp((6, 5)), mlp((6, 5), residual=True)
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_array_equal(plain(x), residual(x))


def test_dropout_acts_while_training_only(rng):
    network = mlp((32,), dropout=0.5)
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_array_equal(network(x), network(x))
    one, other = network(x, training=True), network(x, training=True)
    assert np.any(one.numpy() != other.numpy())


def test_a_weight_norm_network_starts_as_one_without(rng):
    x = rng.normal(size=(4, 3)).astype("f")
    plain, normed = mlp((8,), moved=False), mlp((8,), moved=False, weight_norm=True)
    for network in (plain, normed):
        network.last.kernel.assign(np.ones((8, 2)))
    np.testing.assert_allclose(normed(x), plain(x), rtol=1e-5, atol=1e-6)
    assert len(normed.trainable_weights) == len(plain.trainable_weights) + 1


def test_context_broadcasts_over_sample_dimensions(rng):
    network = mlp((8,), context=2)
    x, context = rng.normal(size=(5, 4, 3)).astype("f"), rng.normal(size=(4, 2)).astype("f")
    whole = network(x, context=context)
    for i in range(5):
        np.testing.assert_allclose(whole[i], network(x[i], context=context), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"residual": True, "dropout": 0.1, "weight_norm": True}])
def test_config_survives_json(options, rng):
    network = mlp((8, 8), activation="gelu", **options)
    config = keras.saving.serialize_keras_object(network)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == network.get_config()
    copy.build((None, 3), (None, 2))
    copy.set_weights(network.get_weights())
    x = rng.normal(size=(4, 3)).astype("f")
    np.testing.assert_array_equal(copy(x), network(x))


def test_it_runs_in_the_compute_dtype():
    network = mlp((8,), dtype="mixed_bfloat16")
    assert network(tf.ones([2, 3])).dtype == tf.bfloat16
    assert {weight.dtype for weight in network.weights} == {"float32"}


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="positive widths; got"):
        MLP(())
    with pytest.raises(ValueError, match=r"positive widths; got \(8, 0\)"):
        MLP((8, 0))
    with pytest.raises(ValueError, match=r"vectors; got event shape \(4, 4, 1\).*ConvNet"):
        MLP((8,)).build((None, 4, 4, 1), (None, 2))
