"""flowzoo train."""

import json

import pytest

RECIPE = """
name: tiny
model: {name: realnvp, options: {steps: 2, hidden_units: [8]}}
data: {source: two_moons, train: "train[:512]", test: "test[:64]", batch_size: 256}
training: {epochs: 3}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_train(succeed, recipe, tmp_path):
    text = succeed("train", recipe, "--set", "training.epochs=1", "--no-download")
    run_dir = tmp_path / "runs" / "tiny"
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["epochs"] == 1
    assert "epoch 1/1: " in text
    assert " nats, validation " in text
    assert " rows/s" in text
    assert f"test: {metrics['test']['nll']:.4f} ± " in text
    assert "preset/" in text
    assert text.startswith("devices: ")
    assert "wrote runs/tiny: " in text
    assert (run_dir / "preset" / "config.json").is_file()


def test_a_finished_run_is_reported_and_not_run_again(succeed, recipe, tmp_path):
    command = ("train", recipe, "--set", "training.epochs=1", "--no-download")
    first = succeed(*command)
    weights = tmp_path / "runs/tiny/last.weights.h5"
    written = weights.stat().st_mtime_ns
    again = succeed(*command)
    assert "runs/tiny already holds this run. To train again, delete it or choose another --out." in again
    assert "epoch" not in again
    assert next(line for line in first.splitlines() if line.startswith("test: ")) in again
    assert weights.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=5", "Did you mean 'epochs'?"),
        ("training.epochs", "An override looks like"),
        ("training.epochs=0", "'training.epochs'"),
        ("model.name=relnvp", "Did you mean 'realnvp'?"),
        ("model.options.stpes=1", "Did you mean 'steps'?"),
        ("data.source=two_mons", "Did you mean 'two_moons'?"),
    ],
)
def test_wrong_recipes(fail, recipe, override, message):
    assert message in fail("train", recipe, "--set", override)


def test_a_strategy(succeed, recipe, tmp_path):
    text = succeed("train", recipe, "--set", "training.epochs=1", "--no-download", "--strategy", "mirrored")
    assert text.startswith("devices: ")
    assert (tmp_path / "runs/tiny/preset/config.json").is_file()


def test_wrong_strategies(fail, recipe, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert "Did you mean 'mirrored'?" in fail("train", recipe, "--strategy", "mirror")
    assert "needs TF_CONFIG in the environment" in fail("train", recipe, "--strategy", "multi_worker")
    assert "needs TF_CONFIG in the environment" in fail("fit", "two_moons", "--strategy", "multi_worker")


def test_wrong_files(fail, tmp_path):
    assert "nope.yaml: No such file" in fail("train", "nope.yaml")
    (tmp_path / "bad.yaml").write_text("name: [")
    assert "bad.yaml is not valid YAML" in fail("train", "bad.yaml")


def test_out_is_a_file(fail, recipe):
    assert "in the way" in fail("train", recipe, "--out", recipe)


def test_data_that_may_not_be_downloaded(fail, recipe, tmp_path):
    changes = ["--set", "data.source=mnist", "--data-dir", tmp_path / "empty", "--no-download"]
    assert "mnist is not prepared" in fail("train", recipe, *changes)
