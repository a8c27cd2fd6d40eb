import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.layers import LULinear
from flowzoo.layers import linear as module
from flowzoo.testing import check_bijector, perturb


def layer_of(event=(5,), moved=True, **kwargs):
    layer = LULinear(**kwargs)
    layer.build((None, *event))
    if moved:
        perturb(layer, 0.2)
    return layer


def matrix(layer):
    """W: the latents of the unit vectors, without the bias."""
    size = layer.event_shape[-1]
    bijector = layer.bijector()
    return (bijector.inverse(np.eye(size)) - bijector.inverse(np.zeros((1, size)))).numpy().T


def test_identity_is_the_identity_to_the_last_bit(rng):
    x = rng.normal(size=(3, 5)).astype(np.float32)
    bijector = layer_of(moved=False).bijector()
    np.testing.assert_array_equal(bijector.inverse(x), x)
    np.testing.assert_array_equal(bijector.forward(x), x)
    assert float(bijector.inverse_log_det_jacobian(x, 1)) == 0.0


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_rotation_is_orthogonal(size):
    layer = layer_of((size,), init="rotation", moved=False, dtype="float64")
    w = matrix(layer)
    np.testing.assert_allclose(w @ w.T, np.eye(size), rtol=0, atol=1e-12)
    np.testing.assert_allclose(w, module._rotation(size, 0), rtol=0, atol=1e-12)
    if size > 2:
        assert np.abs(w).max() < 0.99, "a permutation mixes nothing"


def test_pivoting_keeps_the_factors_small():
    lu, order = module._lu(module._rotation(32, 0))
    assert np.abs(np.tril(lu, -1)).max() <= 1.0
    lower, upper = np.tril(lu, -1) + np.eye(32), np.triu(lu)
    np.testing.assert_allclose(lower @ upper, module._rotation(32, 0)[order], rtol=0, atol=1e-13)


def test_the_seed_sets_the_rotation():
    one, again, other = (layer_of(init="rotation", seed=seed, moved=False) for seed in (1, 1, 2))
    np.testing.assert_array_equal(matrix(one), matrix(again))
    assert np.abs(matrix(one) - matrix(other)).max() > 0.1


def test_it_has_as_many_weights_as_a_dense_layer():
    for init in ("identity", "rotation"):
        layer = layer_of((5,), init=init)
        assert sum(weight.shape.num_elements() for weight in map(_value, layer.trainable_weights)) == 30
    assert len(layer_of(use_bias=False).weights) == 1
    fixed = layer_of(init="rotation").non_trainable_weights
    assert sorted(weight.name for weight in fixed) == ["permutation", "signs"]


def _value(weight):
    return weight.value


@pytest.mark.parametrize("init", ["identity", "rotation"])
@pytest.mark.parametrize("event", [(5,), (2, 2, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_and_jacobian(rng, init, event, dtype):
    layer = layer_of(event, init=init, dtype=dtype)
    check_bijector(layer.bijector(), rng.normal(size=(3, *event)))


def test_training_never_changes_signs_or_order():
    layer = layer_of(init="rotation", moved=False)
    before = layer.signs.numpy(), layer.permutation.numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(layer(tf.ones([2, 5]))))
    weights = layer.trainable_variables
    keras.optimizers.Adam(0.1).apply_gradients(
        zip(tape.gradient(loss, [w.value for w in weights]), weights, strict=True)
    )
    np.testing.assert_array_equal(layer.signs, before[0])
    np.testing.assert_array_equal(layer.permutation, before[1])


def test_a_loaded_layer_does_not_depend_on_how_a_rotation_is_drawn(monkeypatch, tmp_path, rng):
    flow = flowzoo.Flow([LULinear("rotation", seed=3)], (6,))
    perturb(flow, 0.1)
    flow.save(tmp_path / "flow.keras")
    monkeypatch.setattr(module, "_rotation", lambda size, seed: np.eye(size)[::-1])
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    x = rng.normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_array_equal(loaded.encode(x), flow.encode(x))


def test_mixed_precision_computes_in_float32(rng):
    layer = layer_of(init="rotation", dtype="mixed_bfloat16")
    z, log_det = layer.bijector().inverse_and_log_det(rng.normal(size=(3, 5)).astype(np.float32))
    assert z.dtype == log_det.dtype == tf.float32


@pytest.mark.parametrize("options", [{}, {"init": "rotation", "use_bias": False, "seed": 4}])
def test_config_survives_json(options):
    config = keras.saving.serialize_keras_object(layer_of(**options))
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == config["config"]


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match=r"init must be one of \('identity', 'rotation'\); got 'random'"):
        LULinear("random")
