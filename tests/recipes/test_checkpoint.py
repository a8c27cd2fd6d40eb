"""A stopped training resumes and gives the result of an uninterrupted one."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flowzoo
from flowzoo.recipes import checkpoint as module
from flowzoo.recipes import train, trainer
from flowzoo.recipes.config import ZooConfig, dump_config
from flowzoo.storage import files

EPOCHS = 4
ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = ROOT.parent / "shared/data/tabular/nyc_flights.npy"


def recipe(**training):
    return ZooConfig.model_validate(
        {
            "name": "moons",
            "model": {"name": "realnvp", "options": {"steps": 2, "hidden_units": [8], "dropout": 0.1}},
            "data": {
                "source": "two_moons",
                "train": "train[:1000]",
                "validation": "train[1000:1500]",
                "test": "test[:500]",
                "batch_size": 128,
            },
            "training": {
                "epochs": EPOCHS,
                "learning_rate": 0.01,
                "ema": 0.9,
                "jit_compile": False,
                "checkpoint_seconds": 0,
                **training,
            },
        }
    )


def run(directory, **training):
    return train(recipe(**training), directory, download=False, verbose=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    directory = tmp_path_factory.mktemp("whole")
    return run(directory), (directory / "history.csv").read_text()


class Killed(BaseException):
    """Nothing catches it, like a SIGKILL."""


def kill_when(monkeypatch, owner, name, call):
    """Raises instead of the given call of a function."""
    function, calls = getattr(owner, name), []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, killed)


def without_seconds(history):
    lines = [line.split(",") for line in history.splitlines()]
    column = lines[0].index("seconds")
    return [[float(value) for i, value in enumerate(line) if i != column] for line in lines[1:]]


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (module.Checkpoint, "on_epoch_end", 1),
        (module.Checkpoint, "on_epoch_end", 3),
        (module.files, "write_json", 2),  # between a checkpoint's weights and its state
        (module.shutil, "rmtree", 3),  # between a checkpoint and the removal of the previous one
    ],
)
def test_a_stopped_run_ends_like_the_whole_one(whole, tmp_path, monkeypatch, owner, name, call):
    with monkeypatch.context() as patched:
        kill_when(patched, owner, name, call)
        with pytest.raises(Killed):
            run(tmp_path)
    resumed = run(tmp_path)
    metrics, history = whole
    assert resumed["test"]["nll"] == pytest.approx(metrics["test"]["nll"], abs=1e-5)
    assert resumed["epochs"] == EPOCHS
    got, wanted = without_seconds((tmp_path / "history.csv").read_text()), without_seconds(history)
    assert got == [pytest.approx(line, abs=1e-5) for line in wanted]
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_keep_a_minimum_time_between_them(whole, tmp_path, monkeypatch):
    """The best weights stay in memory in between, and the last epoch is always written."""
    written = []
    monkeypatch.setattr(module.Checkpoint, "_write", write_noted(module.Checkpoint._write, written))
    metrics = run(tmp_path, checkpoint_seconds=1000)
    assert written == [EPOCHS]
    assert metrics["test"]["nll"] == pytest.approx(whole[0]["test"]["nll"], abs=1e-5)


def write_noted(write, epochs):
    """Writes a checkpoint and records after how many epochs."""

    def noted(self):
        epochs.append(self.epochs_done)
        write(self)

    return noted


def test_a_resumed_run_does_not_adapt_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_when(patched, module.Checkpoint, "on_epoch_end", 2)
        with pytest.raises(Killed):
            run(tmp_path)
    monkeypatch.setattr("flowzoo.training.adapt.adapt", lambda *args, **kwargs: pytest.fail("adapted again"))
    run(tmp_path)


def test_patience_counts_across_interruptions(tmp_path, monkeypatch):
    """At this learning rate, the first epoch stays the best."""
    options = {"learning_rate": 1.0, "schedule": "constant", "patience": 2, "epochs": 9, "ema": None}
    wanted = run(tmp_path / "whole", **options)["epochs"]
    assert wanted < 9
    with monkeypatch.context() as patched:
        kill_when(patched, module.Checkpoint, "on_epoch_end", wanted)
        with pytest.raises(Killed):
            run(tmp_path / "stopped", **options)
    assert run(tmp_path / "stopped", **options)["epochs"] == wanted


@pytest.mark.slow
def test_weights_are_averaged_in_a_run_that_was_killed_after_its_last_epoch(tmp_path, monkeypatch):
    """With or without early stopping, it writes what an uninterrupted run writes."""
    for options in ({}, {"learning_rate": 1.0, "schedule": "constant", "patience": 1, "epochs": 9}):
        whole, stopped = tmp_path / f"whole{len(options)}", tmp_path / f"stopped{len(options)}"
        run(whole, **options)
        with monkeypatch.context() as patched:
            kill_when(patched, trainer, "evaluate", 1)
            with pytest.raises(Killed):
                run(stopped, **options)
        (stopped / "last.weights.h5").unlink()
        (stopped / "history.csv").unlink()
        run(stopped, **options)
        flows = [flowzoo.from_pretrained(whole / "preset") for _ in range(2)]
        for flow, directory in zip(flows, (whole, stopped), strict=True):
            flow.load_weights(directory / "last.weights.h5")
        for one, other in zip(*[flow.get_weights() for flow in flows], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert without_seconds((stopped / "history.csv").read_text()) == [
            pytest.approx(line, abs=1e-5) for line in without_seconds((whole / "history.csv").read_text())
        ]


def test_a_full_disk_keeps_the_last_checkpoint_and_says_how_to_resume(whole, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        kill_when(patched, module.Checkpoint, "on_epoch_end", 2)
        with pytest.raises(Killed):
            run(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module.files, "write_json", full)
        with pytest.raises(
            OSError, match=r"epoch 2 could not be written.*No space left.*run the same command"
        ):
            run(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert run(tmp_path)["test"]["nll"] == pytest.approx(whole[0]["test"]["nll"], abs=1e-5)


def test_too_little_disk_space_is_reported_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"needs \d+ MiB in .*, but 0 MiB are free"):
        run(tmp_path)


def test_a_directory_without_write_permission_is_reported_before_training(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.files, "replacing", refuse)
    with pytest.raises(OSError, match=r"cannot be written to: .*Permission denied.*--out"):
        run(tmp_path)


def killed_twice(command, directory, moments):
    """Runs a command that trains into `directory`; kills it after each of these numbers of epochs."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def started():
        return subprocess.Popen(command, cwd=directory.parent, env=environment, stdout=subprocess.DEVNULL)

    def epochs():
        found = (directory / "checkpoints").glob("[0-9]*")
        return max((int(path.name) for path in found), default=0)

    for least, pause in moments:
        process = started()
        end = time.monotonic() + 200
        while epochs() < least and time.monotonic() < end and process.poll() is None:
            time.sleep(0.005)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert epochs() >= least
    assert started().wait(300) == 0


def train_command(recipe, out, *options):
    program = [sys.executable, "-c", "from flowzoo.cli import main; main()"]
    return [*program, "train", recipe, "--out", out, *options]


def metrics_of(directory):
    return files.read_json(directory / "metrics.json")


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_the_same_command(tmp_path):
    """SIGKILL, twice, at arbitrary moments."""
    path = tmp_path / "moons.yaml"
    path.write_text(dump_config(recipe(epochs=30)))
    subprocess.run(train_command(path, tmp_path / "whole"), check=True)
    killed_twice(train_command(path, tmp_path / "killed"), tmp_path / "killed", [(5, 0.0), (15, 0.0)])
    one, other = metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "killed")
    assert one["test"]["nll"] == pytest.approx(other["test"]["nll"], abs=1e-4)
    assert other["epochs"] == 30


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.skipif(not FLIGHTS.is_file(), reason=f"there is no {FLIGHTS}")
def test_the_flights_recipe_killed_twice_equals_the_whole_run(tmp_path):
    """The moments are random: during an epoch, a validation or a checkpoint."""
    rng = np.random.default_rng()
    settings = (f"data.source={FLIGHTS}", "training.epochs=4", "training.checkpoint_seconds=0")
    options = [option for setting in settings for option in ("--set", setting)]
    path = ROOT / "zoo_configs/maf_flights.yaml"
    subprocess.run(train_command(path, tmp_path / "whole", *options), check=True)
    whole = metrics_of(tmp_path / "whole")
    with open(tmp_path / "whole/history.csv", newline="") as file:
        *_, before, last = [float(row["seconds"]) for row in csv.DictReader(file)]
    moments = [(1, rng.uniform(0, last - before)), (2, rng.uniform(0, last - before))]
    print("killed after epochs and seconds:", moments)
    killed_twice(train_command(path, tmp_path / "killed", *options), tmp_path / "killed", moments)
    resumed = metrics_of(tmp_path / "killed")
    assert resumed["epochs"] == 4
    assert resumed["test"]["nll"] == pytest.approx(whole["test"]["nll"], abs=1e-4)
    histories = [(tmp_path / out / "history.csv").read_text() for out in ("killed", "whole")]
    got, wanted = (without_seconds(history) for history in histories)
    assert got == [pytest.approx(line, abs=1e-4) for line in wanted]
