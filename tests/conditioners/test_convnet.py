import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import ConvNet
from flowzoo.testing import perturb

SHAPE = (4, 4, 2)


def convnet(context=None, moved=True, **kwargs):
    keras.utils.set_random_seed(0)
    network = ConvNet(**{"channels": 6, "blocks": 1, **kwargs})
    network.build((None, *SHAPE), (None, 4, 4, 3), None if context is None else (None, context))
    if moved:
        perturb(network, 0.3)
    return network


def images(*batch, seed=0):
    return np.random.default_rng(seed).normal(size=(*batch, *SHAPE)).astype(np.float32)


def test_it_starts_at_zero():
    np.testing.assert_array_equal(convnet(moved=False)(images(2)), np.zeros((2, 4, 4, 3)))


def test_it_is_the_composition_of_its_layers():
    network = convnet(context=2)
    context = np.random.default_rng(1).normal(size=(2, 2)).astype(np.float32)
    h = network.first(images(2)) + network.context_layer(context)[:, None, None]
    wide, narrow = network.inner[0]
    h = h + narrow(tf.nn.relu(wide(tf.nn.relu(h))))
    wanted = network.last(tf.nn.relu(h))
    np.testing.assert_allclose(network(images(2), context=context), wanted, rtol=1e-5, atol=1e-6)


def test_a_plain_block_is_a_1x1_convolution_as_in_glow():
    network = convnet(residual=False)
    ((conv,),) = network.inner
    assert conv.kernel.shape[:2] == (1, 1)
    h = tf.nn.relu(conv(tf.nn.relu(network.first(images(2)))))
    np.testing.assert_allclose(network(images(2)), network.last(h), rtol=1e-5, atol=1e-6)


def test_it_sees_the_neighbours_of_a_pixel():
    network = convnet(blocks=0)
    x = images(1)
    moved = x.copy()
    moved[0, 0, 0] += 1.0
    changed = np.any(network(moved).numpy() != network(x).numpy(), axis=-1)[0]
    wanted = np.zeros((4, 4), bool)
    wanted[:3, :3] = True
    np.testing.assert_array_equal(changed, wanted)


@pytest.mark.parametrize("batch", [(), (2, 3), (0,)])
def test_any_number_of_batch_dimensions(batch):
    network = convnet()
    x = images(*batch)
    wanted = network(x.reshape(-1, *SHAPE)) if x.size else np.zeros((0, 4, 4, 3))
    np.testing.assert_allclose(network(x), np.reshape(wanted, [*batch, 4, 4, 3]), rtol=1e-5, atol=1e-6)


def test_an_empty_batch_gives_an_empty_batch_in_a_graph():
    network = convnet(context=2)
    graph = tf.function(lambda x, c: network(x, context=c), reduce_retracing=True)
    graph(images(3), np.ones((3, 2), "f"))
    graph(images(2), np.ones((2, 2), "f"))
    assert graph(images(0), np.ones((0, 2), "f")).shape == (0, 4, 4, 3)


def test_context_broadcasts_over_sample_dimensions():
    network = convnet(context=2)
    x, context = images(5, 3), np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    whole = network(x, context=context)
    for i in range(5):
        np.testing.assert_allclose(whole[i], network(x[i], context=context), rtol=1e-5, atol=1e-5)


def test_dropout_acts_while_training_only():
    network, x = convnet(dropout=0.5), images(2)
    np.testing.assert_array_equal(network(x), network(x))
    assert np.any(network(x, training=True).numpy() != network(x, training=True).numpy())


def test_a_weight_norm_network_starts_as_one_without():
    plain, normed = convnet(moved=False), convnet(moved=False, weight_norm=True)
    for network in (plain, normed):
        network.last.kernel.assign(np.ones((3, 3, 6, 3)))
    np.testing.assert_allclose(normed(images(2)), plain(images(2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"dropout": 0.1, "weight_norm": True, "activation": "gelu"}, {"residual": False}]
)
def test_config_survives_json(options):
    network = convnet(**options)
    config = keras.saving.serialize_keras_object(network)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == network.get_config()
    copy.build((None, *SHAPE), (None, 4, 4, 3))
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(images(2)), network(images(2)))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="got 0 and 2"):
        ConvNet(channels=0)
    with pytest.raises(ValueError, match="got 64 and -1"):
        ConvNet(blocks=-1)
    with pytest.raises(ValueError, match=r"images \(H, W, C\); got event shape \(3,\).*MLP"):
        ConvNet().build((None, 3), (None, 2))
