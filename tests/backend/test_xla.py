"""XLA programs for parts of a graph that runs op by op."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.backend import xla


def scaled(factor, rows, other):
    return {"product": factor * rows * other, "sum": tf.reduce_sum(rows + other, axis=1)}


def compiled_calls(graph):
    """Names of the functions of a graph that XLA must compile."""
    functions = graph.as_graph_def(use_pybind11_proto=False).library.function
    return [each.signature.name for each in functions if each.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_program_gives_what_its_function_gives(rng, rows):
    x, y = (tf.constant(rng.normal(size=(rows, 3))) for _ in range(2))

    @tf.function
    def in_programs(x, y):
        with xla.programs(), tf.GradientTape() as tape:
            tape.watch(x)
            given = xla.program(scaled, (2.0,), x, y)
            total = tf.reduce_sum(given["product"] ** 2)
        return given, tape.gradient(total, x)

    given, gradient = in_programs(x, y)
    assert compiled_calls(in_programs.get_concrete_function(x, y).graph)
    for name, value in scaled(2.0, x, y).items():
        np.testing.assert_allclose(given[name], value)
    np.testing.assert_allclose(gradient, 8.0 * x * y * y)


def test_no_program_outside_the_context(rng):
    x = tf.constant(rng.normal(size=(2, 3)))

    @tf.function
    def plain(x):
        with xla.programs(False):
            return xla.program(scaled, (2.0,), x, x)

    assert not compiled_calls(plain.get_concrete_function(x).graph)


def test_a_program_within_a_program_is_part_of_it(rng):
    x = tf.constant(rng.normal(size=(2, 3)))

    def outer(rows):
        return xla.program(scaled, (3.0,), rows, rows)["product"]

    @tf.function
    def nested(x):
        with xla.programs():
            return xla.program(outer, (), x)

    np.testing.assert_allclose(nested(x), 3.0 * x * x)
    assert len(compiled_calls(nested.get_concrete_function(x).graph)) == 1


def trained(x, jit_compile):
    keras.utils.set_random_seed(0)
    options = {"levels": 1, "steps": 1, "channels": 2, "blocks": 0, "pixel_levels": 17}
    flow = flowzoo.create_model("glow", (4, 4, 1), coupling="spline", **options)
    flow.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    history = flow.fit(x, batch_size=8, epochs=2, shuffle=False, validation_data=(x[:5],), verbose=0).history
    return flow, history


def test_images_train_in_programs_as_they_train_without(rng):
    """With 21 rows the last batch is short."""
    x = rng.integers(0, 17, (21, 4, 4, 1)).astype("uint8")
    (plain, wanted), (flow, history) = trained(x, False), trained(x, "auto")
    for name, values in wanted.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    for one, other in zip(flow.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
