"""Tests for planar and radial layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import MLP
from flowzoo.layers import Planar, Radial
from flowzoo.testing import perturb

KINDS = [Planar, Radial]


def built(kind, event=(3,), context=None, **kwargs):
    conditioner = None if context is None else MLP((4,), dtype=kwargs.get("dtype"))
    layer = kind(3, conditioner=conditioner, **kwargs)
    layer.build((None, *event), None if context is None else (None, *context))
    return layer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [None, (2,)])
@pytest.mark.parametrize("closed", ["inverse", "forward"])
def test_a_new_one_is_the_identity(rng, kind, context, closed):
    layer = built(kind, context=context, closed=closed)
    z = rng.normal(size=(5, 3)).astype(np.float32)
    given = None if context is None else tf.ones([5, *context])
    x, log_det = layer.bijector(given).forward_and_log_det(z)
    np.testing.assert_allclose(x, z, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(5), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_one_is_not_stuck(rng, kind):
    layer = built(kind)
    x = tf.constant(rng.normal(size=(20, 3)) ** 3, tf.float32)
    with tf.GradientTape() as tape:
        z, log_det = layer.bijector().inverse_and_log_det(x)
        loss = tf.reduce_mean(0.5 * tf.reduce_sum(z * z, -1) - log_det)
    gradients = tape.gradient(loss, [weight.value for weight in layer.trainable_weights])
    # Only the heights have a gradient at first: while they are 0, planes and centres have no effect.
    moving = {w.name for w, g in zip(layer.trainable_weights, gradients, strict=True) if np.any(g)}
    assert moving == ({"u"} if kind is Planar else {"beta"})
    assert all(np.ndim(g) == 2 and np.all(np.any(g, axis=1)) for g in gradients if np.any(g))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_differ_from_the_start(kind):
    first = built(kind).trainable_weights[0].numpy()
    assert np.unique(first, axis=0).shape == first.shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_moves_every_parameter(rng, kind):
    layer = built(kind, context=(2,), dtype="float64")
    perturb(layer, 0.5)
    one, other = (layer.parameters(tf.fill([4, 2], tf.constant(v, tf.float64)), False) for v in (0.3, 1.0))
    for a, b in zip(one, other, strict=True):
        assert a.shape[:2] == (4, 3)
        assert np.all(a.numpy() != b.numpy())
    x, context = rng.normal(size=(4, 3)), tf.constant(rng.normal(size=(4, 2)))
    z = layer.bijector(context).inverse(x)
    for row in range(4):
        np.testing.assert_allclose(
            layer.bijector(context[row : row + 1]).inverse(x[row : row + 1])[0], z[row]
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closed", ["inverse", "forward"])
def test_far_contexts_stay_finite(rng, kind, closed):
    layer = built(kind, context=(2,), closed=closed)
    perturb(layer, 1.0)
    x, context = tf.ones([8, 3]), tf.constant(1e6 * rng.normal(size=(8, 2)), tf.float32)
    weights = [weight.value for weight in layer.trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        bijector = layer.bijector(context)
        pairs = [bijector.forward_and_log_det(x), bijector.inverse_and_log_det(x)]
    for pair in pairs:
        for tensor in (*pair, *tape.gradient(pair, weights)):
            assert np.isfinite(tensor).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [None, (2,)])
def test_config_survives_json(rng, kind, context):
    layer = built(kind, context=context, closed="forward")
    perturb(layer, 0.3)
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    again.build((None, 3), None if context is None else (None, *context))
    again.set_weights(layer.get_weights())
    assert (again.steps, again.closed) == (3, "forward")
    x = tf.constant(rng.normal(size=(4, 3)), tf.float32)
    given = None if context is None else tf.ones([4, *context])
    np.testing.assert_array_equal(again.bijector(given).inverse(x), layer.bijector(given).inverse(x))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_computes_densities_in_float32(rng, kind):
    layer = built(kind, context=(2,), dtype="mixed_bfloat16")
    perturb(layer, 0.3)
    z = rng.normal(size=(4, 3)).astype(np.float32)
    x, log_det = layer.bijector(tf.ones([4, 2])).forward_and_log_det(z)
    assert x.dtype == log_det.dtype == tf.float32
    assert layer.conditioner(tf.ones([1, 2])).dtype == tf.bfloat16
    np.testing.assert_allclose(layer.bijector(tf.ones([4, 2])).inverse(x), z, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_are_refused(kind):
    name = kind.__name__
    with pytest.raises(ValueError, match=r"closed must be one of .*; got 'both'"):
        kind(closed="both")
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        kind(0)
    with pytest.raises(ValueError, match=rf"{name} takes vectors \(D,\); got event shape \(4, 4, 1\)"):
        kind().build((None, 4, 4, 1))
    with pytest.raises(ValueError, match=f"{name} .*has a context and no conditioner"):
        kind().build((None, 2), (None, 3))
    with pytest.raises(ValueError, match=f"{name} .*has a conditioner and no context"):
        kind(conditioner=MLP((4,))).build((None, 2))


@pytest.mark.parametrize("context", [None, (2,)])
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_same(rng, kind, context):
    tf2onnx = pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    layer = built(kind, context=context)
    perturb(layer, 0.5)

    def function(values, *given):
        bijector = layer.bijector(*given)
        return (*bijector.forward_and_log_det(values), *bijector.inverse_and_log_det(values))

    inputs = {"values": rng.normal(size=(6, 3)).astype(np.float32)}
    if context is not None:
        inputs["context"] = rng.normal(size=(6, *context)).astype(np.float32)
    signature = [tf.TensorSpec([None, *value.shape[1:]], value.dtype, name) for name, value in inputs.items()]
    traced = tf.function(function, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=18)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = traced(*inputs.values())
    for got, tensor in zip(session.run(None, inputs), wanted, strict=True):
        np.testing.assert_allclose(got, tensor, atol=1e-5)
    # One graph for any number of rows.
    fewer = session.run(None, {name: value[:1] for name, value in inputs.items()})
    np.testing.assert_allclose(fewer[0], wanted[0][:1], atol=1e-5)
