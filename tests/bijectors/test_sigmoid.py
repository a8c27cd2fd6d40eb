import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Sigmoid
from flowzoo.testing import check_bijector


def test_it_is_tfps_sigmoid_inverted(assert_like_oracle, rng):
    oracle = tfp.bijectors.Invert(tfp.bijectors.Sigmoid())
    assert_like_oracle(Sigmoid((3,), dtype=tf.float64), oracle, rng.uniform(0.01, 0.99, (10, 3)))


def test_it_keeps_its_promises(rng):
    check_bijector(Sigmoid((2, 2, 1), dtype=tf.float64), rng.uniform(0.01, 0.99, (4, 2, 2, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_latents_on_the_edge_give_finite_data(dtype):
    x, log_det = Sigmoid((1,), dtype=dtype).forward_and_log_det(tf.constant([[0.0], [1.0]], dtype))
    assert np.isfinite(x).all()
    assert np.isfinite(log_det).all()
    assert float(x[0, 0]) < -10 < 10 < float(x[1, 0])
