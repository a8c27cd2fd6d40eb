import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Linear
from flowzoo.bijectors.linear import lower_triangular_inverse
from flowzoo.testing import check_bijector

# Ops that a serving graph must not contain: no ONNX runtime has them, and XLA lacks some.
SOLVERS = {
    "LogMatrixDeterminant",
    "Lu",
    "MatrixDeterminant",
    "MatrixInverse",
    "MatrixSolve",
    "MatrixTriangularSolve",
    "Qr",
    "Svd",
}


def parts(size, seed=0, scale=0.3):
    """Random packed factors, signs, permutation and bias."""
    rng = np.random.default_rng(seed)
    lu = scale * rng.normal(size=(size, size))
    return lu, rng.choice([-1.0, 1.0], size), rng.permutation(size), rng.normal(size=size)


def linear(event=(4,), dtype=tf.float64, **kwargs):
    lu, signs, permutation, bias = parts(event[-1])
    options = {"signs": signs, "permutation": permutation, "bias": bias, **kwargs}
    return Linear(lu, event, dtype=dtype, **options)


def matrix(lu, signs, permutation):
    """W from its definition."""
    lower = np.tril(lu, -1) + np.eye(len(lu))
    upper = np.triu(lu, 1) + np.diag(signs * np.exp(np.diag(lu)))
    return (lower @ upper)[permutation]


def graph_of(function, *specs):
    return tf.function(function, autograph=False).get_concrete_function(*specs).graph


@pytest.mark.parametrize("size", [1, 2, 5])
def test_latents_are_w_times_the_data(rng, size):
    lu, signs, permutation, bias = parts(size)
    x = rng.normal(size=(3, size))
    z, log_det = linear((size,)).inverse_and_log_det(x)
    wanted = matrix(lu, signs, permutation)
    np.testing.assert_allclose(z, x @ wanted.T + bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(wanted)[1], rtol=0, atol=1e-12)


def test_on_images_it_is_a_1x1_convolution(rng):
    lu, signs, permutation, bias = parts(3)
    x = rng.normal(size=(2, 4, 5, 3))
    bijector = linear((4, 5, 3))
    kernel = matrix(lu, signs, permutation).T[None, None]
    wanted = tf.nn.conv2d(x, kernel, strides=1, padding="VALID") + bias
    z, log_det = bijector.inverse_and_log_det(x)
    np.testing.assert_allclose(z, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det, 20 * np.trace(lu), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 5])
def test_it_is_the_inverse_of_tfps_scale_matvec_lu(assert_like_oracle, rng, size):
    lu, signs, permutation, _ = parts(size)
    packed = lu - np.diag(np.diag(lu)) + np.diag(signs * np.exp(np.diag(lu)))
    # TFP's permutation scatters rows; ours gathers them.
    oracle = tfp.bijectors.ScaleMatvecLU(tf.constant(packed), np.argsort(permutation).astype(np.int32))
    bijector = linear((size,), bias=None)
    assert_like_oracle(bijector, tfp.bijectors.Invert(oracle), rng.normal(size=(3, size)))


@pytest.mark.parametrize("event", [(1,), (2,), (5,), (40,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"signs": None, "permutation": None, "bias": None}])
def test_inverse_and_jacobian(rng, event, dtype, options):
    check_bijector(linear(event, dtype, **options), rng.normal(size=(2, *event)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 63, 128, 129, 300])
def test_triangular_inverse(rng, size):
    lower = np.tril(rng.normal(size=(size, size)) / np.sqrt(size), -1)
    lower += np.diag(rng.choice([-1.0, 1.0], size) * rng.uniform(0.5, 2.0, size))
    got = lower_triangular_inverse(tf.constant(lower)).numpy()
    np.testing.assert_allclose(got @ lower, np.eye(size), rtol=0, atol=1e-9)
    assert np.all(got[np.triu_indices(size, 1)] == 0.0)


@pytest.mark.parametrize("size", [4, 16, 48, 64, 256, 512])
def test_float32_round_trip_is_as_good_as_lapacks(rng, size):
    # The factors of a random rotation are much worse conditioned than the rotation itself.
    rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
    packed, rows = (t.numpy() for t in tf.linalg.lu(rotation))
    diagonal = np.diag(packed).copy()
    np.fill_diagonal(packed, np.log(np.abs(diagonal)))
    bijector = Linear(packed, (size,), signs=np.sign(diagonal), permutation=np.argsort(rows))
    x = rng.normal(size=(100, size)).astype(np.float32)
    z, log_det = bijector.inverse_and_log_det(x)
    np.testing.assert_allclose(z, x @ rotation.T, rtol=0, atol=1e-4)
    # Not `forward`: TFP caches the input of `inverse`.
    np.testing.assert_allclose(bijector.forward_and_log_det(z)[0], x, rtol=0, atol=1e-5)
    assert abs(float(log_det)) < 1e-3


def test_ill_conditioned_weights_still_come_back_in_float32(rng):
    size = 63
    lu, signs, permutation, bias = parts(size, scale=0.2)
    assert np.linalg.cond(matrix(lu, signs, permutation)) > 100
    bijector = Linear(lu, (size,), signs=signs, permutation=permutation, bias=bias)
    x = rng.normal(size=(100, size)).astype(np.float32)
    z, _ = bijector.inverse_and_log_det(x)
    np.testing.assert_allclose(bijector.forward_and_log_det(z)[0], x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_no_solver_and_no_determinant_is_in_the_graph(method):
    def function(rows):
        lu, signs, permutation, bias = weights
        bijector = Linear(lu, (40,), signs=signs, permutation=permutation, bias=bias, dtype=tf.float64)
        return getattr(bijector, method)(rows)

    weights = [tf.Variable(part) for part in parts(40)]
    ops = {op.type for op in graph_of(function, tf.TensorSpec([None, 40], tf.float64)).get_operations()}
    assert "MatMul" in ops
    assert not ops & SOLVERS


def test_the_density_direction_is_one_product_of_the_rows():
    graph = graph_of(linear((4,)).inverse, tf.TensorSpec([None, 4], tf.float64))
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    assert sum(op.inputs[0].shape[0] is None for op in products) == 1


def test_gradients_of_both_directions_are_each_others(rng):
    lu, signs, permutation, _ = parts(5)
    lu, z = tf.constant(lu), tf.constant(rng.normal(size=(3, 5)))
    with tf.GradientTape() as tape:
        tape.watch(lu)
        bijector = Linear(lu, (5,), signs=signs, permutation=permutation, dtype=tf.float64)
        # The round trip does not depend on the weights.
        back, _ = bijector.inverse_and_log_det(bijector.forward_and_log_det(z)[0])
        loss = tf.reduce_sum(tf.sin(back))
    np.testing.assert_allclose(tape.gradient(loss, lu), np.zeros((5, 5)), rtol=0, atol=1e-12)


def test_every_factor_gets_a_gradient(rng):
    lu, signs, permutation, bias = parts(4)
    for method in ("forward", "inverse"):
        with tf.GradientTape() as tape:
            weights = [tf.constant(lu), tf.constant(bias)]
            tape.watch(weights)
            bijector = Linear(
                weights[0], (4,), signs=signs, permutation=permutation, bias=weights[1], dtype=tf.float64
            )
            loss = tf.reduce_sum(tf.sin(getattr(bijector, method)(rng.normal(size=(3, 4)))))
        for gradient in tape.gradient(loss, weights):
            assert np.all(np.isfinite(gradient))
            assert np.all(gradient != 0.0)


@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 3)])
@pytest.mark.parametrize("event", [(4,), (2, 2, 4)])
def test_any_number_of_batch_dimensions(rng, batch, event):
    bijector, x = linear(event), rng.normal(size=(*batch, *event))
    z = bijector.inverse(x)
    assert z.shape == (*batch, *event)
    rows = bijector.inverse(x.reshape(-1, *event)).numpy()
    np.testing.assert_allclose(z, rows.reshape(z.shape), rtol=0, atol=1e-12)
    assert bijector.forward(z).shape == (*batch, *event)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_with_any_number_of_rows(rng, jit_compile):
    bijector = linear((5,), tf.float32)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    for method in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
        function = tf.function(method, jit_compile=jit_compile, autograph=False, reduce_retracing=True)
        for rows in (x, x[:1]):
            for got, wanted in zip(function(tf.constant(rows)), method(rows), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_huge_inputs_stay_finite(rng):
    bijector = linear((4,), tf.float32)
    x = tf.constant(1e6 * rng.choice([-1.0, 1.0], (8, 4)), tf.float32)
    for method in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value, log_det = method(x)
        assert np.all(np.isfinite(value))
        assert np.isfinite(log_det)
        assert np.all(np.isfinite(tape.gradient(value, x)))
