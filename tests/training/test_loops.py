"""Tests of flowzoo.training.loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.training import loops


@pytest.fixture
def x(rng):
    return rng.normal(3.0, 2.0, (200, 3)).astype("float32")


def make(**options):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (3,), steps=1, hidden_units=(4,), **options)
    return flow


def fit(flow, x, **options):
    """Three epochs of 7 batches, where the last batch has 8 rows."""
    return flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(32), epochs=3, verbose=0, **options).history


class Stock(flowzoo.Flow):
    """Runs Keras's own train_function: a custom train_step does not use the loop."""

    def train_step(self, data):
        return super().train_step(data)


def stock(**options):
    flow = make(**options)
    return Stock(flow.transforms, flow.event_shape, preprocessing=flow.preprocessing)


def test_the_loop_trains_as_keras_does(x):
    looped, plain = make(), stock()
    history, expected = fit(looped, x), fit(plain, x)
    assert isinstance(looped.train_function, loops.StepLoop)
    assert not isinstance(plain.train_function, loops.StepLoop)
    assert int(looped.optimizer.iterations) == int(plain.optimizer.iterations) == 21
    np.testing.assert_allclose(history["nll"], expected["nll"], rtol=1e-5)
    for a, b in zip(looped.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_the_loop_counts_row_weights_as_keras_does(x, rng):
    weights = rng.random(len(x)).astype("float32")
    looped, plain = make(), stock()
    for flow in (looped, plain):
        flow.fit(x, sample_weight=weights, batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(looped.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize("steps", [1, 3, 32])
def test_any_number_of_steps_is_the_same_training(x, steps):
    default, chosen = make(), make()
    chosen.compile(steps_per_execution=steps)
    np.testing.assert_allclose(fit(chosen, x)["nll"], fit(default, x)["nll"], rtol=1e-5)


def test_short_batches_and_short_stacks_do_not_recompile(x):
    flow = make()
    flow.compile(steps_per_execution=3)
    fit(flow, x, validation_data=tf.data.Dataset.from_tensor_slices(x[:50]).batch(32))
    for function in (flow.train_function, flow.test_function):
        assert function._run.experimental_get_tracing_count() == 1


def test_evaluate_is_the_mean_of_the_densities(x):
    flow = make()
    fit(flow, x)
    got = flow.evaluate(x, batch_size=64, verbose=0, return_dict=True)["nll"]
    np.testing.assert_allclose(got, -np.mean(flow.log_prob(x)), rtol=1e-6)


def test_validation_in_batches_of_another_size_does_not_change_training(x, monkeypatch):
    monkeypatch.setattr(loops, "_STACK_BYTES", 2 * 4 * 3 * 32)  # 2 batches of 32 rows, 8 of 8
    flow = make()
    history = flow.fit(
        x, batch_size=32, epochs=2, validation_data=(x[:50],), validation_batch_size=8, verbose=0
    ).history
    assert flow.steps_per_execution == 2
    np.testing.assert_allclose(history["val_nll"][-1], -np.mean(flow.log_prob(x[:50])), rtol=1e-5)


def test_batch_callbacks_are_called_once_per_loop(x):
    seen = []
    flow = make()
    flow.compile(steps_per_execution=3)
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: seen.append(step))
    fit(flow, x, callbacks=callback)
    assert seen[:3] == [2, 5, 8]  # Keras counts whole executions


def test_schedules_and_averages_run_in_the_loop(x):
    flow = make()
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 21)
    flow.compile(keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=0.9))
    fit(flow, x, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)])
    np.testing.assert_allclose(float(flow.optimizer.learning_rate), 0.0, atol=1e-8)


def test_large_rows_make_short_loops():
    assert loops.steps_per_loop(4 * 512 * 6) == 32
    assert loops.steps_per_loop(4 * 64 * 3072) == 21
    assert loops.steps_per_loop(2**30) == 1
