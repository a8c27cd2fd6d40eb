"""Tests of flowzoo.training.skipped_steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo


@pytest.fixture
def x(rng):
    return rng.normal(size=(96, 2)).astype("float32")


def make(jit_compile=True):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,), preprocessing="none")
    flow.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
    return flow


def with_bad_batch(x, at=1):
    """Three batches; one has a row so large that its density is infinite."""
    x = x.copy()
    x[32 * at] = 3e38
    return tf.data.Dataset.from_tensor_slices(x).batch(32)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_bad_step_is_skipped_as_if_the_batch_did_not_exist(x, jit_compile):
    flow, expected = make(jit_compile), make(jit_compile)
    for each in (flow, expected):
        each.adapt(x)
    with pytest.warns(UserWarning, match="1 steps of epoch 1 .* not finite"):
        history = flow.fit(with_bad_batch(x), verbose=0).history
    good = tf.data.Dataset.from_tensor_slices(np.concatenate([x[:32], x[64:]])).batch(32)
    assert history["skipped_steps"] == [1]
    assert int(flow.optimizer.iterations) == 2
    np.testing.assert_allclose(history["nll"], expected.fit(good, verbose=0).history["nll"], rtol=1e-6)
    for a, b in zip(flow.variables, expected.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_good_training_does_not_warn(x, recwarn):
    history = make().fit(x, verbose=0).history
    assert "skipped_steps" not in history
    assert not [warning for warning in recwarn if "not finite" in str(warning.message)]


def test_too_many_in_a_row_stop_the_training_with_the_last_good_weights(x):
    flow = make()
    flow.adapt(x)
    before = [variable.numpy() for variable in flow.trainable_variables]
    endless = tf.data.Dataset.from_tensor_slices(np.full((32, 2), 3e38, "f")).batch(32).repeat(40)
    with pytest.raises(FloatingPointError, match=r"steps in a row.*last good weights.*lower learning rate"):
        flow.fit(endless, verbose=0)
    for variable, expected in zip(flow.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_counting_restarts_with_each_fit(x):
    flow = make()
    flow.adapt(x)
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 steps of epoch 1"):
            assert flow.fit(with_bad_batch(x), verbose=0).history["skipped_steps"] == [1]


@pytest.mark.parametrize("jit_compile", [True, False])
def test_an_epoch_of_skipped_steps_has_no_loss_and_is_never_the_best(x, jit_compile):
    flow = make(jit_compile)
    flow.adapt(x)
    bad = tf.data.Dataset.from_tensor_slices(np.full((32, 2), 3e38, "f")).batch(32)
    stop = keras.callbacks.EarlyStopping("nll", patience=5)
    with pytest.warns(UserWarning, match="not finite"):
        history = flow.fit(bad, epochs=2, callbacks=[stop], verbose=0).history
    assert np.isnan(history["nll"]).all()
    assert not np.isfinite(stop.best if stop.best is not None else np.nan)
    weightless = flow.evaluate(x, sample_weight=np.zeros(len(x)), verbose=0, return_dict=True)
    assert np.isnan(weightless["nll"])


def test_float16_trains_and_the_optimizer_rescales_what_overflows(x):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,), dtype="mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2), initial_scale=2.0**40)
    flow.compile(optimizer)
    history = flow.fit(np.tile(x, (10, 1)), epochs=3, batch_size=32, verbose=0).history
    assert float(optimizer.dynamic_scale) < 2.0**40
    assert int(optimizer.inner_optimizer.iterations) > 40
    assert history["nll"][-1] < history["nll"][0]
    assert "skipped_steps" not in history
