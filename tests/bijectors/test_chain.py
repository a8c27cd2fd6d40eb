import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Affine, Chain, Permute, Squeeze
from flowzoo.testing import check_bijector

tfb = tfp.bijectors


def test_order_and_log_det_are_tfps(assert_like_oracle, rng):
    parts = [
        Affine(rng.normal(size=3), rng.normal(size=3), (3,), dtype=tf.float64),
        Permute([2, 0, 1], (3,), dtype=tf.float64),
        tfb.Sinh(),
        Affine(rng.normal(size=3), rng.normal(size=3), (3,), dtype=tf.float64),
    ]
    chain = Chain(parts, (3,), dtype=tf.float64)
    assert_like_oracle(chain, tfb.Chain(parts), rng.normal(size=(5, 3)))
    check_bijector(chain, rng.normal(size=(5, 3)))


def test_it_takes_any_tfp_bijector(assert_like_oracle, rng):
    triangle = tf.constant([[1.0, 0.0], [0.7, 2.0]], tf.float64)
    parts = [tfb.ScaleMatvecTriL(triangle), tfb.Softplus(), tfb.Shift(tf.constant([1.0, 2.0], tf.float64))]
    chain = Chain(parts, (2,), dtype=tf.float64)
    assert_like_oracle(chain, tfb.Chain(parts), rng.normal(size=(5, 2)))


def test_it_works_inside_tfps_chain(rng):
    chain = Chain([Affine([1.0, 2.0], [0.3, -0.4], (2,))], (2,))
    outer = tfb.Chain([tfb.Scale(2.0), chain])
    z = rng.normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_allclose(outer.forward(z), 2 * chain.forward(z), rtol=1e-6)
    np.testing.assert_allclose(
        np.broadcast_to(outer.forward_log_det_jacobian(z, 1), 4), -0.1 + 2 * np.log(2), rtol=1e-5
    )


def test_shapes_may_change_along_it(rng):
    chain = Chain([Squeeze((4, 4, 1)), Affine(None, [0.1, 0.2, 0.3, 0.4], (2, 2, 4))], (4, 4, 1))
    assert chain.latent_shape == (2, 2, 4)
    assert chain.inverse_event_shape((4, 4, 1)) == (2, 2, 4)
    assert chain.forward_event_shape((2, 2, 4)) == (4, 4, 1)
    assert float(chain.forward_and_log_det(tf.zeros([1, 2, 2, 4]))[1]) == pytest.approx(4.0)


def test_parts_that_do_not_fit_are_refused_when_it_is_made():
    with pytest.raises(ValueError, match=r"expected event shape \(2,\).*got \(3,\)"):
        Chain([Affine(None, None, (3,)), Affine(None, None, (2,))], (3,))


def test_an_empty_chain_is_the_identity():
    x, log_det = Chain([], (2,)).forward_and_log_det([[1.0, 2.0]])
    assert x.numpy().tolist() == [[1.0, 2.0]]
    assert float(log_det) == 0.0
