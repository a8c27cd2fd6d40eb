"""Several devices in one process and several processes on one machine train as a single device does."""

import contextlib
import inspect
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.training import replicas

HERE = Path(__file__).parents[1]
PATH = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATH}


def test_a_strategy_of_one_device_changes_nothing(rng):
    x = rng.normal(3.0, 2.0, (100, 2)).astype("float32")
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    flows = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        keras.utils.set_random_seed(0)
        with scope:
            flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
        flow.compile("adam", jit_compile=False)
        flow.fit(x, batch_size=32, epochs=2, shuffle=False, validation_data=(x[:33],), verbose=0)
        flows.append(flow)
    plain, shared = flows
    assert isinstance(shared.train_function, replicas.ReplicaLoop)
    for name, values in plain.history.history.items():
        np.testing.assert_allclose(shared.history.history[name], values, rtol=1e-6)
    for a, b in zip(plain.weights, shared.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


# -- two devices -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def two_devices():
    """Results of tests/two_devices.py, a process of its own: devices are set before TensorFlow's first op."""
    command = [sys.executable, HERE / "two_devices.py"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["clipped", "averaged", "dequantized", "weighted", "skipped", "resumed"])
def test_two_devices_train_as_one_does(two_devices, case):
    found = two_devices[case]
    assert found["weights"] < 2e-6
    assert found["state"] < 2e-6
    assert found["history"] < 1e-6


@pytest.mark.slow
def test_a_batch_that_is_bad_on_one_device_is_left_out_on_all(two_devices):
    assert two_devices["skipped"]["steps"] == 3
    assert two_devices["skipped"]["skipped_steps"] == [1]


@pytest.mark.slow
def test_networks_in_bfloat16(two_devices):
    one, two = two_devices["mixed"]
    np.testing.assert_allclose(one, two, rtol=1e-2)


@pytest.mark.slow
def test_two_devices_drop_different_units(two_devices):
    assert np.isfinite(two_devices["dropped"]["loss"]).all()
    for first, second in two_devices["dropped"]["seeds"]:
        assert first != second


@pytest.mark.slow
def test_a_flow_of_two_devices_is_used_as_any_other(two_devices):
    assert max(two_devices["kept"].values()) < 5e-6


@pytest.mark.slow
def test_an_optimizer_or_a_step_that_cannot_work_is_refused(two_devices):
    optimizer, step = two_devices["messages"]
    assert "its optimizer was not: make the optimizer" in optimizer
    assert "Own has its own train_step" in step


# -- two workers -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """The directories of two workers and of a single process, and the output of each worker."""
    directories = [tmp_path_factory.mktemp(name) for name in ("first", "second", "single")]
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    command = [sys.executable, HERE / "two_workers.py"]
    workers = [
        subprocess.Popen(
            [*command, directories[index]],
            env={
                **ENVIRONMENT,
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
                ),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, stderr) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, stderr[-3000:]
    subprocess.run([*command, directories[2]], env=ENVIRONMENT, capture_output=True, check=True, timeout=300)
    return directories, [stdout.split("\n---\n") for stdout, _ in outputs]


def weights_in(directory):
    found = {}
    with h5py.File(directory / "flow.weights.h5") as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


@pytest.mark.slow
def test_two_workers_end_with_the_weights_of_a_single_process(two_workers):
    first, second, single = [weights_in(directory) for directory in two_workers[0]]
    assert len(first) > 10
    for name, weight in single.items():
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], weight, atol=1e-5)


@pytest.mark.slow
def test_all_report_the_metrics_of_the_whole_epoch(two_workers):
    histories = [np.load(directory / "recorded.npz") for directory in two_workers[0]]
    for name in ("loss", "nll", "val_nll"):
        for history in histories[:2]:
            np.testing.assert_allclose(history[name], histories[2][name], rtol=1e-6)


@pytest.mark.slow
def test_each_row_is_seen_once_an_epoch(two_workers):
    first, second, single = [np.load(directory / "recorded.npz")["seen"] for directory in two_workers[0]]
    for epoch in range(2):
        shared = np.concatenate([rows[100 * epoch : 100 * (epoch + 1)] for rows in (first, second)])
        whole = single[200 * epoch : 200 * (epoch + 1)]
        np.testing.assert_array_equal(np.sort(shared, axis=0), np.sort(whole, axis=0))
        assert len(np.unique(shared, axis=0)) == 200


@pytest.mark.slow
def test_workers_that_differ_are_refused(two_workers):
    for rows, weights, _ in two_workers[1]:
        assert "do not see the same rows" in rows
        assert "do not hold the same weights" in weights


# -- workarounds for Keras ---------------------------------------------------------------------
@pytest.mark.slow
def test_keras_own_fit_still_fails_with_several_workers(two_workers):
    """keras#20585. If this fails, see whether `ReplicaLoop` and `DensitySteps._strategy` can go."""
    for *_, stock in two_workers[1]:
        assert "PerReplica" in stock


def test_keras_optimizers_still_always_sum_gradients():
    """keras#19308. If this fails, `replicas.summed_already` can go."""
    apply = inspect.signature(keras.optimizers.Optimizer.apply_gradients)
    assert list(apply.parameters) == ["self", "grads_and_vars"]
