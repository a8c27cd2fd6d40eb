import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Affine
from flowzoo.testing import check_bijector

tfb = tfp.bijectors


@pytest.mark.parametrize(
    ("shift_shape", "event"), [((3,), (3,)), ((4, 3), (3,)), ((2,), (4, 4, 2)), ((), (3,))]
)
def test_it_is_shift_of_scale(assert_like_oracle, rng, shift_shape, event):
    shift, log_scale = rng.normal(size=(2, *shift_shape))
    oracle = tfb.Chain([tfb.Shift(tf.constant(shift)), tfb.Scale(log_scale=tf.constant(log_scale))])
    bijector = Affine(shift, log_scale, event, dtype=tf.float64)
    assert_like_oracle(bijector, oracle, rng.normal(size=(4, *event)))


@pytest.mark.parametrize("event", [(3,), (2, 2, 3)])
def test_it_keeps_its_promises(rng, event):
    bijector = Affine(rng.normal(size=3), rng.normal(size=3), event, dtype=tf.float64)
    check_bijector(bijector, rng.normal(size=(4, *event)))


def test_a_scale_shared_by_pixels_counts_once_for_each():
    log_det = Affine(None, [0.5, -0.25], (4, 3, 2)).forward_and_log_det(tf.zeros([1, 4, 3, 2]))[1]
    assert float(log_det) == pytest.approx(12 * 0.25)


def test_one_scale_per_row_gives_one_log_det_per_row(rng):
    log_scale = rng.normal(size=(5, 3)).astype(np.float32)
    log_det = Affine(None, log_scale, (3,)).inverse_and_log_det(tf.zeros([5, 3]))[1]
    np.testing.assert_allclose(log_det, -log_scale.sum(1), rtol=1e-5)


def test_without_a_scale_it_preserves_volume():
    x, log_det = Affine(1.0, None, (2,)).forward_and_log_det([[1.0, 2.0]])
    assert x.numpy().tolist() == [[2.0, 3.0]]
    assert float(log_det) == 0.0
