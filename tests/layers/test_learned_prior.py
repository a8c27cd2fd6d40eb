import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.layers import LearnedPrior
from flowzoo.testing import check_bijector, perturb


def prior(event=(3,), context=None, moved=True, **kwargs):
    layer = LearnedPrior(**kwargs)
    layer.build((None, *event), None if context is None else (None, context))
    if moved:
        perturb(layer, 0.3)
    return layer


@pytest.mark.parametrize("context", [None, 2])
def test_a_new_one_is_the_identity(rng, context):
    layer = prior(context=context, moved=False)
    given = None if context is None else tf.constant(rng.normal(size=(4, context)), tf.float32)
    z = rng.normal(size=(4, 3)).astype(np.float32)
    x, log_det = layer.bijector(given).forward_and_log_det(z)
    np.testing.assert_array_equal(x, z)
    assert not np.any(log_det)


@pytest.mark.parametrize("event", [(3,), (2, 2, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_and_jacobian(rng, event, dtype):
    check_bijector(prior(event, dtype=dtype).bijector(), rng.normal(size=(3, *event)))


def test_each_class_has_its_own_normal(rng):
    layer = prior(context=2, dtype="float64")
    z = rng.normal(size=(50_000, 3))
    for label in (0, 1):
        bias, row = layer.bias.numpy(), layer.kernel.numpy()[label]
        shift, raw = np.split(bias + row, 2)
        x = layer.bijector(tf.one_hot([label] * len(z), 2, dtype=tf.float64)).forward(z).numpy()
        np.testing.assert_allclose(x.mean(0), shift, rtol=0, atol=0.03)
        np.testing.assert_allclose(np.log(x.std(0)), 3 * np.tanh(raw / 3), rtol=0, atol=0.02)


def test_the_log_scale_is_bounded():
    layer = prior((1,), context=1, moved=False, scale_bound=2.0)
    layer.kernel.assign([[0.0, 1.0]])
    for value, wanted in ((1e6, 2.0), (-1e6, -2.0)):
        bijector = layer.bijector(tf.constant([[value]]))
        assert float(bijector.forward_log_det_jacobian([[0.0]], 1)[0]) == pytest.approx(wanted)


def test_sample_dimensions_broadcast_against_the_context(rng):
    layer = prior((2, 2, 1), context=2)
    context = tf.constant(rng.normal(size=(3, 2)), tf.float32)
    z = rng.normal(size=(5, 3, 2, 2, 1)).astype(np.float32)
    x, log_det = layer.bijector(context).forward_and_log_det(z)
    assert (x.shape, log_det.shape) == (z.shape, (3,))
    for i in range(3):
        row = layer.bijector(context[i : i + 1]).forward(z[:, i])
        np.testing.assert_allclose(x[:, i], row, rtol=1e-6, atol=1e-6)


def test_config_survives_json():
    layer = prior(scale_bound=2.0)
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_not_positive_is_refused(bound):
    with pytest.raises(ValueError, match="scale_bound must be > 0; got"):
        LearnedPrior(scale_bound=bound)
