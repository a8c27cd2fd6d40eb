"""Runs of recipes: every file of the run directory, and a preset that gives the reported metrics."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.recipes import train, trainer
from flowzoo.recipes.config import ZooConfig, load_config
from flowzoo.recipes.evaluation import evaluate
from flowzoo.storage import presets, provenance
from flowzoo.storage.locks import held


def recipe(**changes):
    content = {
        "name": "digits",
        "model": {
            "name": "realnvp",
            "options": {"levels": 1, "channels": 4, "blocks": 0, "pixel_levels": 17},
        },
        "data": {"source": "digits", "train": "train[:256]", "batch_size": 64},
        "training": {"epochs": 2, "clip_norm": 1.0, "warmup_steps": 2, "ema": 0.9, "patience": 5},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return ZooConfig.model_validate(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, train(recipe(), directory, download=False, verbose=0)


def test_the_run_directory_has_every_file(run):
    directory, _ = run
    names = {path.name for path in directory.iterdir() if path.name[0] != "."}
    assert names == {
        "best.weights.h5",
        "config.yaml",
        "curve.png",
        "history.csv",
        "last.weights.h5",
        "metrics.json",
        "preset",
        "samples.png",
        "tensorboard",
    }
    for name in ("curve.png", "samples.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")


def test_the_recipe_is_saved_with_its_defaults(run):
    directory, _ = run
    assert load_config(directory / "config.yaml") == recipe()


def test_the_history_has_a_line_for_each_epoch(run):
    directory, _ = run
    with open(directory / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"seconds", "learning_rate", "loss", "nll", "bits_per_dim", "val_bits_per_dim"} <= set(rows[0])
    assert float(rows[1]["bits_per_dim"]) < float(rows[0]["bits_per_dim"])
    # Cosine to zero at the last step.
    assert float(rows[1]["learning_rate"]) == pytest.approx(0.0, abs=1e-6)


def test_the_metrics_are_returned_and_written(run):
    directory, metrics = run
    assert json.loads((directory / "metrics.json").read_text()) == metrics
    assert (metrics["name"], metrics["epochs"], metrics["test"]["rows"]) == ("digits", 2, 180)
    assert 0 < metrics["test"]["bits_per_dim"] < 6
    assert metrics["training_seconds"] > 0
    assert metrics["machine"]
    assert metrics["versions"] == provenance.versions()
    assert metrics["revision"] == provenance.revision()


def test_the_preset_gives_the_reported_numbers(run):
    directory, metrics = run
    flow = flowzoo.from_pretrained(directory / "preset")
    test = flowzoo.data.load("digits", "test", batch_size=64)
    assert evaluate(flow, test)["bits_per_dim"] == pytest.approx(metrics["test"]["bits_per_dim"], rel=1e-5)
    assert presets.preset_metadata(directory / "preset")["test"] == metrics["test"]
    assert flow.count_params() == metrics["parameters"]


def validation_curve(directory, metric):
    with open(directory / "history.csv", newline="") as file:
        return [float(row[f"val_{metric}"]) for row in csv.DictReader(file)]


def test_the_averaged_weights_are_those_that_were_validated(run):
    directory, _ = run
    flow = flowzoo.from_pretrained(directory / "preset")
    best = min(validation_curve(directory, "bits_per_dim"))
    validation = flowzoo.data.load("digits", "validation", batch_size=64)
    assert evaluate(flow, validation)["bits_per_dim"] == pytest.approx(best, rel=1e-4)


def test_the_preset_has_the_weights_of_the_best_epoch(tmp_path):
    split = "train[512:768]"
    config = recipe(
        model={"name": "realnvp", "options": {"steps": 2, "hidden_units": [4]}},
        data={"source": "two_moons", "train": "train[:512]", "validation": split, "test": "test[:64]"},
        # A learning rate so high that the last epoch is not the best.
        training={
            "epochs": 6,
            "learning_rate": 2.0,
            "schedule": "constant",
            "jit_compile": False,
            "ema": None,
        },
    )
    train(config, tmp_path, download=False, verbose=0)
    curve = validation_curve(tmp_path, "nll")
    assert min(curve) < curve[-1], "the last epoch is the best: choose another rate"
    validation = flowzoo.data.load("two_moons", split, batch_size=256)
    flow = flowzoo.from_pretrained(tmp_path / "preset")
    assert evaluate(flow, validation)["nll"] == pytest.approx(min(curve), rel=1e-4)


def test_a_finished_run_is_not_run_again(run, monkeypatch):
    directory, metrics = run
    monkeypatch.setattr(flowzoo.Flow, "fit", lambda *args, **kwargs: pytest.fail("trained again"))
    assert train(recipe(), directory, download=False, verbose=0) == metrics


def test_a_recipe_sets_dropout_l2_and_noise(tmp_path, monkeypatch):
    given, compile_flow = {}, flowzoo.Flow.compile

    def compile_noted(*args, **kwargs):
        given.update(kwargs)
        compile_flow(*args, **kwargs)

    monkeypatch.setattr(flowzoo.Flow, "compile", compile_noted)
    config = recipe(
        model={"name": "realnvp", "options": {"steps": 1, "hidden_units": [4], "dropout": 0.5}},
        data={"source": "two_moons", "train": "train[:256]", "test": "test[:64]"},
        training={"epochs": 1, "jit_compile": False, "l2": 1e-3, "noise": 0.1},
    )
    train(config, tmp_path, download=False, verbose=0)
    assert (given["l2"], given["noise"]) == (1e-3, 0.1)
    flow = flowzoo.from_pretrained(tmp_path / "preset")
    assert flow.transforms[1].conditioner.drop.rate == 0.5


def test_networks_train_in_bfloat16_and_the_preset_is_float32(tmp_path, monkeypatch):
    trained, fit = [], flowzoo.Flow.fit

    def fit_noted(flow, *args, **kwargs):
        trained.append(flow)
        return fit(flow, *args, **kwargs)

    monkeypatch.setattr(flowzoo.Flow, "fit", fit_noted)
    config = recipe(
        model={"name": "realnvp", "options": {"steps": 1, "hidden_units": [4]}},
        data={"source": "two_moons", "train": "train[:256]", "validation": None, "test": "test[:64]"},
        training={"epochs": 1, "jit_compile": False, "precision": "mixed_bfloat16"},
    )
    metrics = train(config, tmp_path, download=False, verbose=0)
    flow = flowzoo.from_pretrained(tmp_path / "preset")
    kinds = [each.transforms[1].conditioner.compute_dtype for each in (*trained, flow)]
    assert kinds == ["bfloat16", "float32"]
    for one, other in zip(trained[0].get_weights(), flow.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    test = flowzoo.data.load("two_moons", "test[:64]", batch_size=64)
    assert evaluate(flow, test)["nll"] == pytest.approx(metrics["test"]["nll"], rel=1e-5)


def test_a_directory_with_another_recipe_is_left_alone(run):
    directory, _ = run
    before = (directory / "metrics.json").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run of another recipe"):
        train(recipe(seed=1), directory, download=False, verbose=0)
    assert (directory / "metrics.json").read_bytes() == before


def test_a_run_resumes_if_only_description_or_card_of_its_recipe_changed(run):
    directory, _ = run
    words = {"description": "New words.", "card": {"limits": "Some."}}
    assert trainer._prepare(directory, recipe(**words)) == directory


def test_one_seed_gives_one_result_and_vectors_get_a_scatter(tmp_path):
    toy = {
        "model": {"name": "realnvp", "options": {"steps": 2, "hidden_units": [4]}},
        "data": {"source": "two_moons", "train": "train[:512]", "validation": None, "test": "test[:256]"},
        "training": {"epochs": 1, "jit_compile": False, "ema": None, "schedule": "constant"},
    }
    one, other, third = (
        train(recipe(seed=seed, **toy), tmp_path / name, download=False, verbose=0)
        for seed, name in ((3, "one"), (3, "other"), (4, "third"))
    )
    assert one["test"]["nll"] == other["test"]["nll"] != third["test"]["nll"]
    assert (tmp_path / "one" / "samples.png").is_file()
    assert not (tmp_path / "one" / "best.weights.h5").exists(), "without validation there is no best epoch"


def test_a_conditional_recipe_learns_from_pairs(tmp_path, rng):
    path = tmp_path / "pairs.npz"
    x = rng.normal(size=(400, 2)).astype(np.float32)
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(np.int64))
    config = recipe(
        model={"name": "realnvp", "context_shape": [2], "options": {"steps": 1, "hidden_units": [4]}},
        data={"source": str(path), "train": "train"},
        training={"epochs": 1, "jit_compile": False, "ema": None},
    )
    metrics = train(config, tmp_path / "run", download=False, verbose=0)
    assert np.isfinite(metrics["test"]["nll"])
    assert (tmp_path / "run" / "samples.png").is_file()


def test_labels_that_the_context_has_no_entry_for_are_refused(tmp_path, rng):
    """Their contexts would all be zero."""
    model = {"name": "realnvp", "options": {"steps": 1, "hidden_units": [4]}}
    digits = recipe(model={"context_shape": [5]})
    with pytest.raises(ValueError, match=r"5 entries, but digits has 10 classes: set .* to \[10\]"):
        train(digits, tmp_path / "digits", download=False, verbose=0)
    path = tmp_path / "pairs.npz"
    np.savez(path, x=rng.normal(size=(400, 2)).astype(np.float32), y=np.arange(400) % 3)
    pairs = recipe(model={**model, "context_shape": [2]}, data={"source": str(path), "train": "train"})
    with pytest.raises(tf.errors.InvalidArgumentError, match="A label is not one of 0 to 1"):
        train(pairs, tmp_path / "pairs", download=False, verbose=0)


def test_a_recipe_that_cannot_work_fails_before_it_trains(tmp_path):
    with pytest.raises(ValueError, match="must lie in"):
        train(
            recipe(model={"name": "realnvp", "options": {"levels": 1, "pixel_levels": 4}}),
            tmp_path / "run",
            download=False,
            verbose=0,
        )
    assert not (tmp_path / "run" / "metrics.json").exists()


# -- directories of others -------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["tensorboard", "checkpoints", "preset"])
def test_a_folder_that_was_never_a_run_is_left_alone(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("precious")
    config = ZooConfig(name="x", model={"name": "realnvp"}, data={"source": "two_moons"})
    with pytest.raises(FileExistsError, match=rf"not a run of flowzoo.*holds {name}"):
        train(config, tmp_path)
    assert (tmp_path / name / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "", ".hidden", "a/b"])
def test_a_recipes_name_cannot_leave_the_runs(name):
    with pytest.raises(ValueError, match="name"):
        ZooConfig(name=name, model={"name": "realnvp"}, data={"source": "two_moons"})


def test_a_second_training_in_one_directory_names_the_first(tmp_path):
    config = ZooConfig(name="x", model={"name": "realnvp"}, data={"source": "two_moons"})
    with held(tmp_path, "a training"), pytest.raises(RuntimeError, match="in use: a training of process"):
        train(config, tmp_path)
