"""MaskedAutoregressive: three ways to invert agree, and so do their gradients."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import conditioners, layers

# columns, hidden units, residual, context: includes widths that the columns do not divide, and fewer
# units than columns.
CASES = [
    (2, (5,), False, None),
    (5, (16, 16), False, (3,)),
    (7, (10, 10, 10), True, None),
    (19, (12, 9), False, None),
    (6, (13, 13, 13), True, (2,)),
    (1, (4,), False, (2,)),
    (30, (7, 50), False, (2,)),
    (27, (40, 40, 40), True, None),
]
INVERSES = ["incremental", "jacobi", "sequential"]


def make_layer(
    columns, hidden, residual=False, context=None, side="data", inverse="incremental", dtype="float64"
):
    made = conditioners.MADE(hidden, "tanh", residual, dtype=dtype)
    layer = layers.AffineAutoregressive(made, side, inverse, dtype=dtype)
    layer.build((None, columns), None if context is None else (None, *context))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(0.4 * rng.normal(size=variable.shape))
    return layer


def rows_of(columns, context, dtype="float64", count=9):
    rng = np.random.default_rng(1)
    rows = tf.constant(rng.normal(size=(count, columns)), dtype)
    return rows, None if context is None else tf.constant(rng.normal(size=(count, *context)), dtype)


def slow(layer, rows, context):
    bijector = layer.bijector(context)
    if layer.conditions_on == "data":
        return bijector.forward_and_log_det(rows)
    return bijector.inverse_and_log_det(rows)


def fast(layer, rows, context):
    bijector = layer.bijector(context)
    if layer.conditions_on == "data":
        return bijector.inverse_and_log_det(rows)
    return bijector.forward_and_log_det(rows)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("side", ["data", "latent"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_all_inverses_agree_and_undo_the_fast_direction(case, side, dtype, tolerance):
    columns, hidden, residual, context_shape = case
    rows, context = rows_of(columns, context_shape, dtype)
    values = []
    for inverse in INVERSES:
        layer = make_layer(columns, hidden, residual, context_shape, side, inverse, dtype)
        known, log_det = slow(layer, rows, context)
        back, back_log_det = fast(layer, known, context)
        np.testing.assert_allclose(back, rows, atol=tolerance, rtol=tolerance)
        np.testing.assert_allclose(log_det, -back_log_det, atol=tolerance, rtol=tolerance)
        values.append(known)
    np.testing.assert_allclose(values[0], values[1], atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(values[0], values[2], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "case", [*CASES[:3], *[pytest.param(case, marks=pytest.mark.slow) for case in CASES[3:]]]
)
@pytest.mark.parametrize("side", ["data", "latent"])
def test_gradient_of_the_slow_direction_equals_finite_differences(case, side):
    columns, hidden, residual, context_shape = case
    layer = make_layer(columns, hidden, residual, context_shape, side)
    rows, context = rows_of(columns, context_shape)
    weights = tf.constant(np.linspace(1.0, 2.0, len(rows)))

    def loss(rows, context):
        known, log_det = slow(layer, rows, context)
        return tf.reduce_sum(tf.sin(known)) + tf.reduce_sum(log_det * weights)

    inputs = [rows] if context is None else [rows, context]
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(rows, context)
    gradients = tape.gradient(value, [*inputs, *variables], unconnected_gradients="zero")

    def check(numeric, gradient, direction):
        assert float(numeric) == pytest.approx(float(tf.reduce_sum(gradient * direction)), rel=1e-6, abs=1e-6)

    rng, step = np.random.default_rng(2), 1e-6
    for i, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        if i < len(inputs):
            moved = [
                [t + s * step * direction if j == i else t for j, t in enumerate(inputs)] for s in (1, -1)
            ]
            high, low = (loss(*pair, *([None] * (2 - len(pair)))) for pair in moved)
        else:
            variable = variables[i - len(inputs)]
            held = variable.numpy()
            variable.assign(held + step * direction)
            high = loss(rows, context)
            variable.assign(held - step * direction)
            low = loss(rows, context)
            variable.assign(held)
        check((high - low) / (2 * step), gradient, direction)


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("inverse", INVERSES)
def test_compiled_equals_eager_for_an_unknown_number_of_rows(inverse, jit_compile):
    layer = make_layer(6, (11, 11), inverse=inverse)
    rows, _ = rows_of(6, None)

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 6], tf.float64)])
    def compiled(rows):
        return slow(layer, rows, None)

    np.testing.assert_allclose(compiled(rows)[0], slow(layer, rows, None)[0], atol=1e-12)


def test_a_row_of_jacobi_does_not_depend_on_its_neighbours():
    layer = make_layer(20, (30, 30), inverse="jacobi", dtype="float32")
    rows, _ = rows_of(20, None, "float32")
    alone = tf.concat([slow(layer, rows[i : i + 1], None)[0] for i in range(len(rows))], axis=0)
    np.testing.assert_allclose(alone, slow(layer, rows, None)[0], atol=1e-6)


def test_leading_sample_dimensions_broadcast_with_the_context():
    layer = make_layer(4, (8,), context=(3,))
    rows, context = rows_of(4, (3,))
    stacked = tf.stack([rows, 2 * rows])
    np.testing.assert_allclose(slow(layer, stacked, context)[0][1], slow(layer, 2 * rows, context)[0])


def test_masks_hold_whatever_the_weights_are():
    layer = make_layer(6, (9, 9))
    rows, _ = rows_of(6, None, count=1)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        z = fast(layer, rows, None)[0]
    jacobian = tape.jacobian(z, rows)[0, :, 0]
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0)
    assert np.all(np.abs(np.tril(jacobian)[1:, 0]) > 0)


def test_tfp_masked_autoregressive_flow_gives_the_same_numbers():
    layer = make_layer(5, (12, 12))
    rows, _ = rows_of(5, None)

    def shift_and_log_scale(x):
        parameters = layer.conditioner(x)
        return parameters[..., 0, :], 3.0 * tf.tanh(parameters[..., 1, :] / 3.0)

    oracle = tfp.bijectors.MaskedAutoregressiveFlow(shift_and_log_scale)
    np.testing.assert_allclose(layer.bijector().forward(rows), oracle.forward(rows), atol=1e-12)
    np.testing.assert_allclose(
        layer.bijector().inverse_log_det_jacobian(rows), oracle.inverse_log_det_jacobian(rows, 1), atol=1e-12
    )


def test_many_columns():
    layer = make_layer(784, (100, 100), dtype="float32")
    rows, _ = rows_of(784, None, "float32", count=3)
    for variable in layer.trainable_variables:
        variable.assign(0.2 * variable)
    known, _ = slow(layer, rows, None)
    np.testing.assert_allclose(fast(layer, known, None)[0], rows, atol=1e-4)
