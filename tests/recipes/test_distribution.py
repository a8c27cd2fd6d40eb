"""Strategies by name, their messages, and a training by two processes, one of which is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import kubernetes_validate
import numpy as np
import pytest
import tensorflow as tf
import yaml

from flowzoo.recipes import distribution, train
from flowzoo.recipes.config import load_config

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guides/many-workers.md"


# -- names and messages ----------------------------------------------------------------------
def test_a_wrong_name_is_reported():
    with pytest.raises(ValueError, match=r"no strategy 'mirored'\. Did you mean 'mirrored'"):
        distribution.make_strategy("mirored")


@pytest.mark.parametrize(
    "text",
    [
        "host0",
        "[]",
        '{"cluster": {"worker": ["host0:2222"]}}',
        '{"cluster": {"worker": ["host0:2222"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["host0:2222"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_reported(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"TF_CONFIG is not valid\. Expected: .*host1:2222"):
        distribution.check_strategy("multi_worker")


def test_several_workers_need_a_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"needs TF_CONFIG .*GPUs of one machine, use --strategy mirrored"):
        distribution.check_strategy("multi_worker")


def worker(index, workers=3, replicas=1, kind="worker"):
    """The attributes of a `MultiWorkerMirroredStrategy` that the code reads."""
    cluster = {"worker": [f"host{i}:2222" for i in range(workers)]}
    if kind == "chief":
        cluster["chief"] = ["host9:2222"]
    resolver = SimpleNamespace(
        cluster_spec=lambda: tf.train.ClusterSpec(cluster), task_type=kind, task_id=index
    )
    count = sum(len(hosts) for hosts in cluster.values())
    return SimpleNamespace(cluster_resolver=resolver, num_replicas_in_sync=count * replicas)


@pytest.mark.parametrize(
    ("strategy", "gpus", "said"),
    [
        (None, 0, "CPU (TensorFlow sees no GPU)"),
        (None, 1, "1 GPU"),
        (None, 4, "1 of 4 GPUs (--strategy mirrored uses all)"),
        (SimpleNamespace(num_replicas_in_sync=4), 4, "4 GPUs"),
        (worker(0), 0, "worker 0 of 3, which writes the run directory; here CPU (TensorFlow sees no GPU)"),
        (worker(2, replicas=2), 2, "worker 2 of 3, worker 0 writes the run directory; here 2 GPUs"),
        (worker(0, kind="chief"), 1, "worker 0 of 4, which writes the run directory; here 1 GPU"),
    ],
)
def test_the_devices_are_described_in_one_line(monkeypatch, strategy, gpus, said):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * gpus)
    assert distribution.describe_devices(strategy) == said


def test_one_worker_writes_and_the_others_start_from_its_checkpoint(tmp_path):
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    (tmp_path / "checkpoints/3/state.json").write_text("{}")
    for strategy in (None, worker(0)):
        with distribution.own_directory(strategy, tmp_path) as own:
            assert own == tmp_path
    with distribution.own_directory(worker(1), tmp_path) as own:
        assert own != tmp_path
        assert (own / "checkpoints/3/state.json").read_text() == "{}"
        (own / "metrics.json").write_text("{}")
    assert not own.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_lost_worker_is_reported_with_the_way_out():
    with (
        pytest.raises(ConnectionError, match=r"\(Connection reset by peer.*same command on every worker"),
        distribution.telling_of_lost_workers(),
    ):
        raise tf.errors.UnavailableError(None, None, "It is aborted by: Connection reset by peer\nMore.")


# -- two processes -----------------------------------------------------------------------------
RECIPE = """
name: moons
model: {name: realnvp, options: {steps: 2, hidden_units: [8]}}
data:
  source: two_moons
  train: "train[:2000]"
  validation: "train[2000:2301]"
  test: "test[:301]"
  batch_size: 100
training: {epochs: 12, learning_rate: 0.01, ema: 0.9, clip_norm: 0.5}
"""


COMMAND = ["train", "recipe.yaml", "--out", "run", "--no-download", "--strategy", "multi_worker"]


class Workers:
    """Two workers of one `flowzoo train`."""

    def __init__(self, folder):
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("127.0.0.1", 0))
            hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
        self.processes = [self._start(folder, hosts, index) for index in range(2)]

    def _start(self, folder, hosts, index):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-c", "from flowzoo.cli import main; main()", *COMMAND],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "TF_CONFIG": json.dumps(task)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait(self):
        """``[(exit status, stdout, stderr), ...]``, one for each worker."""
        outputs = [process.communicate(timeout=300) for process in self.processes]
        return [(worker.returncode, *said) for worker, said in zip(self.processes, outputs, strict=True)]


def kill_after(workers, index, checkpoint):
    """Kills a worker once there is a checkpoint of at least this many epochs."""
    deadline = time.monotonic() + 300
    folder = checkpoint.parent
    while not any(int(path.name) >= int(checkpoint.name) for path in folder.glob("[0-9]*")):
        assert time.monotonic() < deadline, "no checkpoint came"
        assert workers.processes[0].poll() is None, workers.processes[0].communicate()[1][-3000:]
        time.sleep(0.02)
    os.kill(workers.processes[index].pid, signal.SIGKILL)


def weights_in(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


@pytest.mark.slow
def test_killed_and_restarted_workers_end_like_a_single_process(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for killed, after in ((1, 2), (0, 5)):
        with Workers(tmp_path) as workers:
            kill_after(workers, killed, tmp_path / f"run/checkpoints/{after}")
            statuses = workers.wait()
        assert statuses[killed][0] == -signal.SIGKILL
        status, _, stderr = statuses[1 - killed]
        assert status == 2, stderr[-3000:]
        assert "Another worker was lost" in stderr
        assert not (tmp_path / "run/metrics.json").exists(), "it ended before it was killed"
    with Workers(tmp_path) as workers:
        for index, (status, stdout, stderr) in enumerate(workers.wait()):
            assert status == 0, stderr[-3000:]
            assert f"devices: worker {index} of 2" in stdout
            assert ("wrote run" in stdout) == (index == 0)

    single = train(load_config(tmp_path / "recipe.yaml"), tmp_path / "single", download=False, verbose=0)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["epochs"] == single["epochs"] == 12
    assert metrics["test"]["nll"] == pytest.approx(single["test"]["nll"], abs=1e-4)
    for name in ("last.weights.h5", "best.weights.h5"):
        wanted = weights_in(tmp_path / "single" / name)
        for key, weight in weights_in(tmp_path / "run" / name).items():
            np.testing.assert_allclose(weight, wanted[key], atol=1e-4)


# -- the job of the guide ----------------------------------------------------------------------
JOB = {
    document["kind"]: document
    for document in yaml.safe_load_all((ROOT / "docs/guides/many-workers/job.yaml").read_text())
}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("kind", list(JOB))
def test_the_job_matches_the_kubernetes_schemas(kind, version):
    assert kubernetes_validate.validate(JOB[kind], version, strict=True) == version


def test_the_workers_of_the_job_are_its_pods(monkeypatch):
    spec, name = JOB["Job"]["spec"], JOB["Job"]["metadata"]["name"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    # Kubernetes only substitutes variables that are defined earlier.
    assert list(values).index("TASK_INDEX") < list(values).index("TF_CONFIG")
    for index in range(spec["completions"]):
        text = values["TF_CONFIG"].replace("$(TASK_INDEX)", str(index))
        monkeypatch.setenv("TF_CONFIG", text)
        distribution.check_strategy("multi_worker")
    hosts = json.loads(text)["cluster"]["worker"]
    port = container["ports"][0]["containerPort"]
    assert hosts == [f"{name}-{index}.{pod['subdomain']}:{port}" for index in range(spec["parallelism"])]
    assert JOB["Service"]["metadata"]["name"] == pod["subdomain"]
    assert JOB["Service"]["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert JOB["Service"]["spec"]["clusterIP"] == "None"
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert JOB["PersistentVolumeClaim"]["metadata"]["name"] == claim


def test_the_command_of_the_job_exists():
    from typer.testing import CliRunner

    from flowzoo.cli import app

    args = JOB["Job"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[0] == "flowzoo"
    shown = CliRunner().invoke(app, [args[1], "--help"]).stdout
    assert all(option.split("=")[0] in shown for option in args[3:])


def test_the_guide_names_the_files_of_the_job():
    text = GUIDE.read_text()
    assert all(f"many-workers/{path.name}" in text for path in GUIDE.with_suffix("").iterdir())
