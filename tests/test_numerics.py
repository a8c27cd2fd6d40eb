"""Every flow has finite values and gradients for rows of any size, and inverts after training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer

import flowzoo
from flowzoo import testing

ROWS = 8
SMALL = {"steps": 4, "hidden_units": (16,)}
MODELS = {
    **{name: (name, {}) for name in flowzoo.list_models() if "vector" in flowzoo.model_info(name).events},
    "glow-spline": ("glow", {"coupling": "spline"}),
    "nsf-ar": ("nsf", {"autoregressive": True}),
}


def options_of(walked, **sizes):
    name, options = MODELS[walked]
    known = flowzoo.model_info(name).options
    return name, {**{key: value for key, value in sizes.items() if key in known}, **options}


@pytest.fixture(scope="module")
def compiled():
    """Flows with a compiled function of values and gradients, each made once."""
    made = {}

    def make(walked, columns, dtype):
        key = (walked, columns, dtype)
        if key not in made:
            name, options = options_of(walked, **SMALL)
            flow = testing.make_flow(name, (columns,), dtype=dtype, noise=0.3, **options)

            @tf.function(jit_compile=True, autograph=False)
            def value_and_gradients(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    log_prob = flow.log_prob(x)
                    total = tf.reduce_sum(log_prob) / 1e6
                return log_prob, tape.gradient(total, [x, *[w.value for w in flow.trainable_variables]])

            made[key] = flow, value_and_gradients
        return made[key]

    return make


@st.composite
def rows(draw, columns):
    """Rows whose sizes range from 1e-6 to 1e6, with mixed signs."""
    exponents = draw(st.lists(st.floats(-6.0, 6.0), min_size=ROWS, max_size=ROWS))
    units = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).uniform(-1.0, 1.0, (ROWS, columns))
    return units * 10.0 ** np.asarray(exponents)[:, None]


@pytest.mark.parametrize(
    ("columns", "dtype"), [(5, "float32"), pytest.param(2, "float64", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("walked", MODELS)
def test_values_and_gradients_are_finite_up_to_a_million(compiled, walked, columns, dtype):
    flow, value_and_gradients = compiled(walked, columns, dtype)

    @given(x=rows(columns))
    def check(x):
        log_prob, gradients = value_and_gradients(tf.constant(x, dtype))
        assert np.all(np.isfinite(log_prob)), (x, log_prob)
        for name, gradient in zip(["x", *[w.path for w in flow.trainable_variables]], gradients, strict=True):
            assert np.all(np.isfinite(gradient)), (name, x)

    check()


@pytest.mark.parametrize("walked", MODELS)
def test_samples_of_any_temperature_are_finite(compiled, walked):
    flow, _ = compiled(walked, 5, "float32")
    for temperature in (0.0, 1.0, 10.0):
        assert np.all(np.isfinite(flow.sample(64, temperature=temperature, seed=0)))


# -- round trips after training on real data -----------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("walked", MODELS)
def test_ten_trained_layers_invert(walked):
    """Latents to data and back, with the same weights, agree to 1e-9 in float64 and 1e-4 in float32.

    These columns nearly determine each other, so a flow magnifies float32 rounding errors. If rounding the
    data alone causes an error above 1e-5, the float32 tolerance is ten times that, because ten layers round.
    """
    data = load_breast_cancer().data[:, :6].astype("float32")
    name, options = options_of(walked, steps=10, hidden_units=(32, 32))
    flow = flowzoo.create_model(name, (6,), **options)
    flow.use_xla = False  # compiling would take longer than all the rest
    flow.adapt(data)
    before = tf.reduce_mean(flow.density.log_density(tf.constant(data)))
    flow.compile(keras.optimizers.Adam(2e-3, global_clipnorm=5.0))
    flow.fit(np.tile(data, (4, 1)), batch_size=256, epochs=5, verbose=0)
    assert tf.reduce_mean(flow.density.log_density(tf.constant(data))) > before, "the density did not rise"
    exact, single = (flowzoo.create_model(name, (6,), dtype=d, **options) for d in ("float64", "float32"))
    for same in (exact, single):
        same.set_weights(flow.get_weights())
    # Eager, because tracing ten layers four more times would take longer than the training.
    z = np.random.default_rng(0).normal(size=(512, 6)).astype("float32")
    x = exact.density.decode_rows(tf.constant(z, tf.float64)).numpy()

    def encoded(rows):
        return exact.density.encode_rows(tf.constant(rows, tf.float64))

    np.testing.assert_allclose(encoded(x), z, atol=1e-9)
    rounded = np.abs(encoded(x.astype("float32")) - z).max()
    latents = single.density.encode_rows(single.density.decode_rows(tf.constant(z)))
    np.testing.assert_allclose(latents, z, atol=max(1e-4, 10 * rounded))
    # In standard deviations of each column, which differ by four orders of magnitude.
    back = single.density.decode_rows(single.density.encode_rows(tf.constant(data)))
    np.testing.assert_allclose(back / data.std(0), data / data.std(0), atol=1e-4)
