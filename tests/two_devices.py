"""Trains flows on one device and on two in one process; prints the differences for test_replicas.py."""

import json
import os
import tempfile
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import flowzoo
from flowzoo.training import replicas

ROWS = np.random.default_rng(0).normal(3.0, 2.0, (200, 2)).astype("float32")
COUNTS = np.random.default_rng(1).poisson(20.0, (256, 2)).astype("float32")


def make(options, optimizer, jit_compile):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (2,), steps=2, hidden_units=(4,), **options)
    flow.compile(optimizer(), jit_compile=jit_compile)
    return flow


def both(fit, *, optimizer=lambda: keras.optimizers.Adam(1e-2), jit_compile=False, **options):
    """The flows and histories of one device and of two."""
    one = make(options, optimizer, jit_compile)
    with strategy.scope():
        two = make(options, optimizer, jit_compile)
    assert isinstance(two.optimizer.iterations.value, tf.distribute.DistributedValues)
    histories = []
    for flow in (one, two):
        keras.utils.set_random_seed(1)
        fit(flow)
        histories.append(flow.history.history)
    assert isinstance(two.train_function, replicas.ReplicaLoop)
    return one, two, *histories


def difference(one, two, history_one, history_two):
    """The largest differences of weights, optimizer variables and (relative) history values."""
    weights = max(np.abs(a.numpy() - b.numpy()).max() for a, b in zip(one.weights, two.weights, strict=True))
    pairs = zip(one.optimizer.variables, two.optimizer.variables, strict=True)
    state = max(np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in pairs)
    assert set(history_one) == set(history_two)
    history = max(np.max(np.abs(np.divide(history_two[key], history_one[key]) - 1)) for key in history_one)
    return {"weights": float(weights), "state": float(state), "history": float(history)}


def clipped():
    """A short last batch, and gradients whose norm exceeds the clipping bound."""
    flows = both(
        lambda flow: flow.fit(ROWS, batch_size=64, epochs=3, verbose=0),
        optimizer=lambda: keras.optimizers.Adam(1e-2, global_clipnorm=0.05),
    )
    return difference(*flows)


def averaged():
    """AdamW, with validation of the moving averages on an odd number of rows."""
    flows = both(
        lambda flow: flow.fit(
            tf.data.Dataset.from_tensor_slices(ROWS).batch(50),
            epochs=3,
            validation_data=tf.data.Dataset.from_tensor_slices(ROWS[:57]).batch(8),
            callbacks=[keras.callbacks.SwapEMAWeights()],
            verbose=0,
        ),
        optimizer=lambda: keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(1e-2, 12), weight_decay=0.1, use_ema=True, ema_momentum=0.9
        ),
    )
    return difference(*flows)


def dequantized():
    """Each row gets the noise that a single device draws, even in a compiled step."""
    flows = both(
        lambda flow: flow.fit(COUNTS, batch_size=64, epochs=2, verbose=0), jit_compile=True, dequantize=1.0
    )
    return difference(*flows)


def weighted():
    weights = np.random.default_rng(2).random(len(ROWS)).astype("float32")
    context = (ROWS[:, :1] > 3).astype("float32")
    return difference(
        *both(
            lambda flow: flow.fit(ROWS, context, sample_weight=weights, batch_size=64, verbose=0),
            context_shape=(1,),
        )
    )


def skipped():
    """A batch that is not finite on one device is skipped on both."""
    rows = ROWS.copy()
    rows[70] = 3e38
    data = tf.data.Dataset.from_tensor_slices(rows).batch(64)

    def fit(flow):
        flow.adapt(ROWS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return flow.fit(data, verbose=0)

    one, two, *histories = both(fit, preprocessing="none")
    return {
        **difference(one, two, *histories),
        "steps": int(two.optimizer.iterations.numpy()),
        **histories[1],
    }


def dropped():
    """The two devices drop different units."""
    _, two, _, history = both(lambda flow: flow.fit(ROWS, batch_size=64, verbose=0), dropout=0.5)
    seeds = [[part.numpy().tolist() for part in state.value.values] for state in two.seed_states]
    return {"seeds": seeds, "loss": history["loss"]}


def resumed():
    """Two devices continue a training that one device began."""

    def fit(flow):
        if not isinstance(flow.optimizer.iterations.value, tf.distribute.DistributedValues):
            return flow.fit(ROWS, batch_size=64, epochs=2, shuffle=False, verbose=0)
        begun = make({}, lambda: keras.optimizers.Adam(1e-2), False)
        begun.fit(ROWS, batch_size=64, shuffle=False, verbose=0)
        with tempfile.TemporaryDirectory() as directory:
            begun.save_weights(f"{directory}/begun.weights.h5")
            flow.load_weights(f"{directory}/begun.weights.h5")
        flow.fit(ROWS, batch_size=64, initial_epoch=1, epochs=2, shuffle=False, verbose=0)

    one, two, history_one, history_two = both(fit)
    return difference(one, two, {"nll": history_one["nll"][1:]}, {"nll": history_two["nll"]})


def mixed():
    _, _, *histories = both(
        lambda flow: flow.fit(ROWS, batch_size=64, epochs=3, verbose=0), dtype="mixed_bfloat16"
    )
    return [history["nll"] for history in histories]


def kept():
    """Metrics, samples and files of a flow after training."""
    one, two, *_ = both(lambda flow: flow.fit(ROWS, batch_size=64, verbose=0))
    with tempfile.TemporaryDirectory() as directory:
        two.save(f"{directory}/flow.keras")
        loaded = keras.saving.load_model(f"{directory}/flow.keras")
    metrics = two.evaluate(ROWS[:77], batch_size=16, verbose=0, return_dict=True)
    return {
        "evaluate": abs(metrics["nll"] + float(np.mean(one.log_prob(ROWS[:77])))),
        "log_prob": float(np.abs(two.log_prob(ROWS) - one.log_prob(ROWS)).max()),
        "sample": float(np.abs(two.sample(5, seed=3) - one.sample(5, seed=3)).max()),
        "loaded": float(np.abs(two.log_prob(ROWS) - loaded.log_prob(ROWS)).max()),
    }


def messages():
    """Error messages for an optimizer from outside the scope, and for a flow with its own train_step."""

    class Own(flowzoo.Flow):
        def train_step(self, data):
            return super().train_step(data)

    with strategy.scope():
        flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
        own = Own(flow.transforms, (2,))
    outside = keras.optimizers.Adam()
    said = []
    for act in (lambda: flow.compile(outside), lambda: own.fit(ROWS, verbose=0)):
        try:
            act()
        except ValueError as error:
            said.append(str(error))
    return said


if __name__ == "__main__":
    CPU = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
    # One strategy for all cases: the collectives of several would mix up their keys.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    cases = [clipped, averaged, dequantized, weighted, skipped, resumed, mixed, dropped, kept, messages]
    print(json.dumps({case.__name__: case() for case in cases}))
