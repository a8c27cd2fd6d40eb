import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from flowzoo import Flow, testing
from flowzoo.layers import Whiten


def built(layer, event=(3,)):
    layer.build((None, *event))
    return layer


def thin_rows(rng, count, thickness=1e-3):
    """Four columns of different units; the last is almost the sum of two others."""
    x = rng.normal(size=(count, 4))
    x[:, 3] = x[:, 0] + x[:, 1] + thickness * x[:, 3]
    return x * [1.0, 100.0, 1e-3, 1.0] + [0.0, 2000.0, 1.0, -5.0]


def whitened(x, dtype="float64"):
    layer = built(Whiten(dtype=dtype), x.shape[1:])
    layer.set_moments(x.mean(0), np.cov(x.T, bias=True))
    return layer


def test_whiten_is_the_identity_until_it_is_set(rng):
    x = rng.normal(5.0, 2.0, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(Whiten())(x), x)


def test_whiten_leaves_no_correlation(rng):
    x = thin_rows(rng, 1000)
    z = whitened(x)(tf.constant(x)).numpy()
    np.testing.assert_allclose(z.mean(0), np.zeros(4), atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(4), atol=1e-5)


def test_whiten_alone_is_the_full_gaussian(rng):
    x = thin_rows(rng, 1000, thickness=0.1) / [1.0, 100.0, 1e-3, 1.0]  # scipy needs columns of similar scale
    flow = Flow([], (4,), preprocessing=[whitened(x)], dtype="float64")
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(
        flow.density.log_density(tf.constant(x[:50])), gaussian.logpdf(x[:50]), rtol=1e-5
    )


def test_whiten_round_trip_in_float32(rng):
    x = thin_rows(rng, 1000).astype(np.float32)
    layer = whitened(x.astype(np.float64), "float32")
    back = layer.bijector().forward(layer(x)).numpy()
    np.testing.assert_allclose((back - x) / x.std(0), np.zeros(x.shape), atol=2e-6)


def test_whiten_names_a_column_that_others_determine(rng):
    with pytest.raises(ValueError, match=r"Column 3 of x is a linear combination .*dequantize="):
        whitened(thin_rows(rng, 1000, thickness=0.0))


def test_whiten_takes_vectors_only():
    with pytest.raises(ValueError, match=r"vectors.*\(4, 4, 1\)"):
        built(Whiten(), (4, 4, 1))


@pytest.mark.parametrize(
    "check", [testing.check_saving, testing.check_saved_model, testing.check_onnx], ids=lambda c: c.__name__
)
def test_a_flow_that_whitens_keeps_its_promises_about_files(check):
    check(testing.make_flow("realnvp", (3,), dtype="float32", steps=1, preprocessing="whiten"))


def test_whiten_is_not_trained():
    assert built(Whiten()).trainable_weights == []
