import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Affine, CheckerboardSplit, Coupling, HalfSplit
from flowzoo.testing import check_bijector

tfb = tfp.bijectors


def transformer(shape, calls=None):
    """An affine map whose parameters are smooth functions of the mean of the other part."""

    def function(identity):
        if calls is not None:
            calls.append(identity)
        axes = list(range(-len(shape), 0))
        mean = tf.reduce_mean(identity, axis=axes, keepdims=True)
        parameters = tf.sin(mean + tf.ones(shape, identity.dtype) * 0.3)
        return Affine(2 * parameters, parameters, shape, dtype=identity.dtype)

    return function


@pytest.mark.parametrize("size", [2, 4, 5])
def test_it_is_tfps_real_nvp(assert_like_oracle, rng, size):
    rest = size - size // 2

    def shift_and_log_scale(identity, units, **condition):
        bijector = transformer((units,))(identity)
        return bijector.shift, bijector.log_scale

    oracle = tfb.RealNVP(num_masked=size // 2, shift_and_log_scale_fn=shift_and_log_scale)
    coupling = Coupling(HalfSplit(size), transformer((rest,)), (size,), dtype=tf.float64)
    assert_like_oracle(coupling, oracle, rng.normal(size=(6, size)))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("split", "event"),
    [
        (HalfSplit, (5,)),
        (HalfSplit, (2, 2, 4)),
        (CheckerboardSplit, (4, 4, 1)),
        (CheckerboardSplit, (2, 4, 3)),
    ],
)
def test_it_keeps_its_promises(rng, split, event, swap):
    split = split(event[-1], swap)
    transformed = split.shapes(event)[1]
    coupling = Coupling(split, transformer(transformed), event, dtype=tf.float64)
    check_bijector(coupling, rng.normal(size=(4, *event)))


@pytest.mark.parametrize("swap", [False, True])
def test_the_identity_part_stays(swap):
    split = HalfSplit(4, swap)
    z = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    x = Coupling(split, transformer((2,)), (4,)).forward(z)
    np.testing.assert_array_equal(split.split(x)[0], split.split(z)[0])
    assert not np.any(split.split(x)[1].numpy() == split.split(z)[1].numpy())


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_the_transformer_is_called_once_a_pass(method):
    calls = []
    getattr(Coupling(HalfSplit(4), transformer((2,), calls), (4,)), method)(tf.ones([3, 4]))
    assert len(calls) == 1
