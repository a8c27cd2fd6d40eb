import json
import shutil
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
import yaml

import flowzoo
from flowzoo.recipes.config import dump_config
from flowzoo.recipes.evaluation import evaluate
from flowzoo.storage import files, presets
from flowzoo.zoo import publish, publishing


@pytest.fixture
def metadata(zoo):
    return presets.preset_metadata(zoo / "tiny_moons")


@pytest.fixture
def copy(run_dir, tmp_path):
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


def weight_dtypes(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: found.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
    return set(found)


def test_a_preset_has_every_file_and_the_index_lists_them(zoo):
    names = {"README.md", "config.json", "metadata.json", "model.weights.h5", "samples.png"}
    assert {path.name for path in (zoo / "tiny_moons").iterdir()} == names
    assert {path.name for path in zoo.iterdir()} == {"index.json", "tiny_moons"}
    (entry,) = json.loads((zoo / "index.json").read_text())["presets"]
    assert set(entry["files"]) == names


def test_the_metadata_hold_all_facts(metadata, recipe, zoo):
    assert metadata["name"] == "tiny_moons"
    assert metadata["test"]["rows"] == 2000
    assert metadata["test"]["nll_se"] > 0
    data = metadata["data"]
    assert (data["source"], data["version"], data["test"]) == ("two_moons", "1.0.0", "test[:2000]")
    assert "Apache" in data["licence"]
    assert data["entropy"] == pytest.approx(0.2892, abs=1e-3)
    assert metadata["weights_sha256"] == files.sha256(zoo / "tiny_moons/model.weights.h5")
    assert {"tensorflow", "keras", "flowzoo"} <= set(metadata["versions"])
    assert metadata["machine"]
    assert metadata["training_seconds"] > 0
    assert metadata["recipe"] == recipe.model_dump(mode="json")


def test_the_weights_are_float16_and_the_metrics_are_theirs(metadata, run_dir, zoo):
    assert metadata["weights_dtype"] == "float16"
    weights = zoo / "tiny_moons/model.weights.h5"
    assert weight_dtypes(weights) == {np.dtype("float16")}
    flow = flowzoo.from_pretrained(zoo / "tiny_moons")
    assert flow.variable_dtype == "float32"
    test = flowzoo.data.load("two_moons", "test[:2000]", batch_size=500)
    assert evaluate(flow, test)["nll"] == pytest.approx(metadata["test"]["nll"], abs=1e-6)
    full = json.loads((run_dir / "metrics.json").read_text())["test"]["nll"]
    assert 0 < abs(metadata["test"]["nll"] - full) < 0.001
    for half, whole in zip(flow.weights, flowzoo.from_pretrained(run_dir / "preset").weights, strict=True):
        np.testing.assert_array_equal(half, whole.numpy().astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("reason", ["the metric moves", "a number does not fit"])
def test_weights_that_lose_accuracy_stay_float32(run_dir, tmp_path, monkeypatch, reason):
    if reason == "the metric moves":
        monkeypatch.setattr(publishing, "TOLERANCE", 1e-9)
        monkeypatch.setattr(publishing, "agree", lambda one, other: True)
    else:
        monkeypatch.setattr(publishing, "_copy_as_half", lambda source, target: False)
    metadata = publish(run_dir, tmp_path, download=False)
    assert metadata["weights_dtype"] == "float32"
    weights = tmp_path / "tiny_moons/model.weights.h5"
    assert weights.read_bytes() == (run_dir / "preset/model.weights.h5").read_bytes()
    wanted = json.loads((run_dir / "metrics.json").read_text())["test"]["nll"]
    assert metadata["test"]["nll"] == pytest.approx(wanted, abs=1e-6)


def test_a_number_that_overflows_float16_is_noticed(tmp_path):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["layer/vars/0"] = np.array([1.0, 70000.0], np.float32)
        file["layer/vars/1"] = np.arange(3)
    assert not publishing._copy_as_half(tmp_path / "whole.h5", tmp_path / "half.h5")
    with h5py.File(tmp_path / "half.h5") as file:
        assert file["layer/vars/1"].dtype == np.int64


def test_a_run_is_published_to_a_bucket(run_dir, recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path))
    registry = "memory://bucket-of-tests/zoo"
    publish(run_dir, registry, download=False)
    (tmp_path / "other.yaml").write_text(dump_config(recipe))
    publish(run_dir, registry, download=False, recipe=tmp_path / "other.yaml")
    index = json.loads(fsspec.filesystem("memory").cat_file("/bucket-of-tests/zoo/index.json"))
    assert [entry["name"] for entry in index["presets"]] == ["tiny_moons"]
    flow = flowzoo.from_pretrained("tiny_moons", registry=registry)
    assert flow.event_shape == (2,)


def test_data_in_a_file_are_identified_by_their_digest(recipe, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((3, 2), np.float32))
    words = recipe.card.model_copy(update={"licence": "CC0", "data_url": "https://example.com"})
    data = recipe.data.model_copy(update={"source": str(path)})
    about = publishing._about_data(recipe.model_copy(update={"card": words, "data": data}))
    assert about["version"] == f"sha256 {files.sha256(path)[:12]}"
    assert (about["licence"], about["url"]) == ("CC0", "https://example.com")
    assert "entropy" not in about


# -- refusals ----------------------------------------------------------------------------------
def refuse(run, error, message, tmp_path, **options):
    with pytest.raises(error, match=message):
        publish(run, tmp_path / "zoo", download=False, **options)
    assert not (tmp_path / "zoo").exists()


def test_a_run_that_is_not_finished(tmp_path):
    refuse(tmp_path, FileNotFoundError, "holds no finished run", tmp_path)


def test_metrics_that_do_not_match_the_weights(copy, tmp_path):
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["test"]["nll"] -= 0.1
    (copy / "metrics.json").write_text(json.dumps(metrics))
    refuse(copy, ValueError, r"weights in .* give .* metrics\.json says", tmp_path)


def test_a_recipe_of_another_run(copy, recipe, tmp_path):
    other = recipe.model_copy(update={"seed": 5})
    (tmp_path / "other.yaml").write_text(dump_config(other))
    refuse(copy, ValueError, "is not the recipe of", tmp_path, recipe=tmp_path / "other.yaml")


def test_data_without_a_licence(copy, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(500, 2)).astype("float32"))
    content = yaml.safe_load((copy / "config.yaml").read_text())
    content["data"] |= {"source": str(tmp_path / "rows.npy"), "train": "train", "test": "test"}
    (copy / "config.yaml").write_text(yaml.safe_dump(content))
    refuse(copy, ValueError, r"must name the licence of its data: set card\.licence", tmp_path)


def test_weights_that_are_too_large(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "MOST_BYTES", 1000)
    refuse(run_dir, ValueError, r"The weights take .* MiB; a preset may take", tmp_path)


def test_a_name_that_leads_elsewhere(copy, tmp_path):
    content = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**content, "name": "../evil"}))
    refuse(copy, ValueError, r"'name': .*a name is letters, digits.*got '\.\./evil'", tmp_path)


def test_a_run_of_the_same_name_is_not_replaced(copy):
    """`flowzoo zoo publish runs/tiny_moons --to runs`."""
    run = copy.rename(copy.with_name("tiny_moons"))
    with pytest.raises(ValueError, match="tiny_moons exists and is not a preset"):
        publish(run, run.parent, download=False)
    assert (run / "metrics.json").is_file()


def test_a_registry_that_can_only_be_read(run_dir):
    with pytest.raises(ValueError, match="can only be read; publish to the directory or bucket behind it"):
        publish(run_dir, "https://example.com/zoo")
