import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import RationalQuadraticSpline
from flowzoo.conditioners import MLP, ConvNet
from flowzoo.layers import Spline, SplineCoupling
from flowzoo.testing import check_bijector, perturb


def coupling(event, conditioner, context=None, moved=True, **kwargs):
    layer = SplineCoupling(conditioner, **{"bins": 4, **kwargs})
    layer.build((None, *event), None if context is None else (None, *context))
    if moved:
        perturb(layer, 0.5)
    return layer


CASES = [
    pytest.param((5,), lambda **kwargs: MLP((8,), **kwargs), "half", id="vector"),
    pytest.param((2, 2, 3), lambda **kwargs: ConvNet(4, 1, **kwargs), "half", id="channels"),
    pytest.param((4, 4, 1), lambda **kwargs: ConvNet(4, 1, **kwargs), "checkerboard", id="checkerboard"),
]


@pytest.mark.parametrize("identity_spline", [True, False])
@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize(("event", "conditioner", "mask"), CASES)
def test_inverse_and_jacobian(rng, event, conditioner, mask, swap, identity_spline):
    layer = coupling(
        event,
        conditioner(dtype="float64"),
        mask=mask,
        swap=swap,
        identity_spline=identity_spline,
        dtype="float64",
    )
    check_bijector(layer.bijector(), 1.5 * rng.normal(size=(3, *event)))


@pytest.mark.parametrize(("event", "conditioner", "mask"), CASES)
def test_a_new_one_is_the_identity(rng, event, conditioner, mask):
    layer = coupling(event, conditioner(), mask=mask, moved=False)
    x = rng.normal(size=(5, *event)).astype(np.float32)
    z, log_det = layer.bijector().inverse_and_log_det(x)
    np.testing.assert_allclose(z, x, rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(5), rtol=0, atol=1e-5)


def test_the_conditioner_sees_the_first_part_as_it_is_on_the_data_side(rng):
    layer = coupling((5,), MLP((8,)))
    x = rng.normal(size=(6, 5)).astype(np.float32)
    first, second = x[:, :2], x[:, 2:]
    parameters = tf.reshape(layer.conditioner(first), [6, 11, 3])
    own = RationalQuadraticSpline(layer.spline.parameters.value, (2,), knots_axis=-2)
    conditioned = RationalQuadraticSpline(parameters, (3,), knots_axis=-2)
    parts = [own.inverse_and_log_det(first), conditioned.inverse_and_log_det(second)]
    z, log_det = layer.bijector().inverse_and_log_det(x)
    np.testing.assert_allclose(z, tf.concat([part[0] for part in parts], axis=-1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_det, parts[0][1] + parts[1][1], rtol=0, atol=1e-5)
    assert np.abs(z[:, :2] - first).max() > 0.01


def test_without_its_own_spline_the_first_part_is_unchanged(rng):
    x = rng.normal(size=(6, 5)).astype(np.float32)
    for swap, alone in ((False, slice(0, 2)), (True, slice(2, 5))):
        layer = coupling((5,), MLP((8,)), swap=swap, identity_spline=False)
        changed = layer.bijector().inverse(x).numpy() != x
        assert not changed[:, alone].any()
        assert changed.sum() == changed.size - x[:, alone].size


def test_every_weight_gets_a_gradient(rng):
    layer = coupling((5,), MLP((8,)), context=(2,))
    x, context = rng.normal(size=(64, 5)).astype("f"), rng.normal(size=(64, 2)).astype("f")
    with tf.GradientTape() as tape:
        z, log_det = layer.bijector(context).inverse_and_log_det(x)
        loss = tf.reduce_sum(z**2) - tf.reduce_sum(log_det)
    assert {weight.name for weight in layer.spline.trainable_weights} == {"parameters"}
    for weight, gradient in zip(
        layer.trainable_weights,
        tape.gradient(loss, [weight.value for weight in layer.trainable_weights]),
        strict=True,
    ):
        assert gradient is not None, weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize(("event", "conditioner", "mask"), CASES)
def test_the_context_reaches_the_map(rng, event, conditioner, mask):
    layer = coupling(event, conditioner(), context=(2,), mask=mask)
    z = rng.normal(size=(3, *event)).astype(np.float32)
    one, other = (layer.bijector(tf.fill([3, 2], value)).forward(z) for value in (0.0, 1.0))
    assert np.any(one.numpy() != other.numpy())


def test_sample_dimensions_broadcast_against_the_context(rng):
    layer = coupling((4,), MLP((4,)), context=(2,))
    context, z = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=(5, 3, 4)).astype(np.float32)
    x, log_det = layer.bijector(context).forward_and_log_det(z)
    assert (x.shape, log_det.shape) == ((5, 3, 4), (5, 3))
    for i in range(3):
        row = layer.bijector(context[i : i + 1]).forward(z[:, i])
        np.testing.assert_allclose(x[:, i], row, rtol=1e-4, atol=1e-4)


def test_mixed_precision_computes_densities_in_float32(rng):
    conditioner = MLP((4,), dtype="mixed_bfloat16")
    layer = coupling((4,), conditioner, dtype="mixed_bfloat16")
    x, log_det = layer.bijector().forward_and_log_det(rng.normal(size=(3, 4)).astype(np.float32))
    assert x.dtype == log_det.dtype == tf.float32


@pytest.mark.parametrize("layer_class", [Spline, SplineCoupling])
def test_config_survives_json(layer_class, rng):
    options = {"bins": 5, "bound": 2.5}
    if layer_class is SplineCoupling:
        options |= {"conditioner": MLP((4,)), "swap": True, "identity_spline": False}
    layer = layer_class(**options)
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == layer.get_config()
    for one in (layer, copy):
        one.build((None, 4))
    perturb(layer, 0.5)
    copy.set_weights(layer.get_weights())
    x = rng.normal(size=(4, 4)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), layer(x))


def test_mistakes_are_refused():
    for make in (Spline, lambda **kwargs: SplineCoupling(MLP((4,)), **kwargs)):
        with pytest.raises(ValueError, match="bins must be >= 2; got 1"):
            make(bins=1)
        with pytest.raises(ValueError, match="bound must be > 0; got -1"):
            make(bound=-1)
    with pytest.raises(ValueError, match=r"mask must be one of.*got 'odd'"):
        SplineCoupling(MLP((4,)), "odd")
