"""Trains a flow as one of two workers or as a single process; records the results for test_replicas.py."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import flowzoo
from flowzoo.recipes import distribution
from flowzoo.training import MaximumLikelihood

ROWS = np.random.default_rng(0).normal(3.0, 2.0, (200, 2)).astype("float32")


class Recording(MaximumLikelihood):
    """Records the rows that a flow is trained on."""

    def __call__(self, density, batch):
        if batch.training:
            tf.py_function(lambda rows: seen.append(rows.numpy()), [batch.x], [])
        return super().__call__(density, batch)


def train(directory):
    """Trains on batches that two workers divide evenly, so that no row is filled in."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        flow = flowzoo.create_model("realnvp", (2,), steps=2, hidden_units=(4,))
        optimizer = keras.optimizers.Adam(1e-2, global_clipnorm=0.05)
        flow.compile(optimizer, objective=Recording(), jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices(ROWS).shuffle(200, seed=1).batch(50)
    history = flow.fit(data, epochs=2, validation_data=(ROWS[:33],), verbose=0).history
    np.savez(f"{directory}/recorded.npz", seen=np.concatenate(seen), **history)
    flow.save_weights(f"{directory}/flow.weights.h5")
    return flow


def messages(flow):
    """Error messages of fit if the workers' data or weights differ."""
    data = tf.data.Dataset.from_tensor_slices(ROWS).shuffle(200, seed=index).batch(64)
    said = [refused(lambda: flow.fit(data, verbose=0))]
    flow.trainable_variables[0].assign_add(1.0 * tf.ones_like(flow.trainable_variables[0]) * index)
    return [*said, refused(lambda: flow.fit(ROWS, shuffle=False, verbose=0))]


def stock():
    """The error of Keras's own fit."""
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
    return refused(lambda: model.fit(ROWS, ROWS[:, :1], shuffle=False, verbose=0))


def refused(act):
    try:
        act()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    seen: list = []
    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    index = strategy.cluster_resolver.task_id if several else 0
    flow = train(sys.argv[1])
    if several:
        print(*messages(flow), stock(), sep="\n---\n")
        distribution.wait_for_all(strategy)
