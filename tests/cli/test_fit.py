"""flowzoo fit."""

import csv

import numpy as np
import pytest

from flowzoo.cli import fit
from flowzoo.data import DatasetInfo, dataset_info
from flowzoo.recipes.config import load_config

TINY = ("--option", "steps=2", "--option", "hidden_units=[8]")


def test_fit_a_file_then_use_the_run(succeed, tmp_path, csv_file):
    wide = tmp_path / "wide.csv"
    lines = csv_file.read_text().splitlines()
    wide.write_text("\n".join([lines[0] + ",name", *[line + ",someone" for line in lines[1:]]]))
    text = succeed("fit", "wide.csv", "--columns", "weight,height", "--epochs", 2, "--out", "mine", *TINY)
    assert "test: " in text
    assert "nats" in text
    with open("mine/history.csv") as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert {"nll", "val_nll"} <= set(history[0])
    # The run directory stores its columns.
    assert succeed("evaluate", "mine", wide) == text.split("test: ")[1].split("\n")[0] + "\n"
    assert succeed("score", "mine", wide, "--out", "s.npy") == "scored 200 rows: s.npy\n"
    succeed("sample", "mine", "-n", 3, "--out", "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "weight,height"


def test_columns_are_found_by_the_names_of_the_training_file(succeed, fail, tmp_path, csv_file):
    succeed("fit", csv_file, "--epochs", 1, "--out", "mine", *TINY)
    lines = [line.split(",") for line in csv_file.read_text().splitlines()]
    other = [f"{weight},{i},{height}" for i, (height, weight) in enumerate(lines)]
    (tmp_path / "other.csv").write_text("\n".join(["weight,number,height", *other[1:]]))
    (tmp_path / "bare.csv").write_text("\n".join(other[1:]))
    for model in ("mine", "mine/preset"):
        for data, out in ((csv_file, "one.npy"), ("other.csv", "two.npy")):
            succeed("score", model, data, "--out", out)
        np.testing.assert_array_equal(np.load("one.npy"), np.load("two.npy"))
    assert "bare.csv has no column 'height'" in fail("score", "mine", "bare.csv", "--out", "s.npy")
    succeed("score", "mine", "bare.csv", "--columns", "f2,f0", "--out", "two.npy")
    np.testing.assert_array_equal(np.load("one.npy"), np.load("two.npy"))
    succeed("sample", "mine/preset", "--out", "x.csv")
    assert (tmp_path / "x.csv").read_text().startswith("height,weight\n")


def test_fit_a_data_set_of_discrete_values(succeed, tmp_path):
    counts = np.random.default_rng(0).poisson(3.0, (200, 2))
    np.save(tmp_path / "counts.npy", counts)
    succeed("fit", "counts.npy", "--dequantize", 1, "--epochs", 1, "--seed", 3, *TINY)
    config = load_config(tmp_path / "runs" / "realnvp_counts" / "config.yaml")
    assert config.model.options["dequantize"] == 1.0
    assert config.seed == 3
    succeed("sample", "runs/realnvp_counts", "--out", "x.npy")
    samples = np.load("x.npy")
    np.testing.assert_array_equal(samples, np.round(samples))


@pytest.mark.parametrize(
    ("name", "rows", "train", "validation"),
    [
        ("mnist", 55_000, "train[:-5000]", "train[-5000:]"),  # its "validation" ends "train"
        ("power", 1_659_917, "train", "validation"),
        ("alone", 900, "train[:-100]", "train[-100:]"),  # has none
    ],
)
def test_a_catalogs_validation_rows_are_not_trained_on(name, rows, train, validation):
    info = DatasetInfo("alone", "", (2,), "float32", None, {"train": 1000, "test": 10}, "CC0", "none")
    info = info if name == "alone" else dataset_info(name)
    assert fit._splits(info) == (rows, train, validation)


def test_the_recipe_of_a_data_set_has_its_splits():
    section = fit._data_section(fit.Request("mnist", "train"), 55_000, True, None)
    assert section["train"] == "train[:-5000]"
    assert section["validation"] == "train[-5000:]"
    assert section["batch_size"] == 64


@pytest.mark.parametrize(
    ("rows", "is_image", "size"),
    [(32, False, 16), (1000, False, 32), (10_000, False, 512), (10**6, False, 512), (10**6, True, 64)],
)
def test_batch_sizes(rows, is_image, size):
    assert fit._batch_size(rows, is_image) == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.csv"], "There is no file"),
        (["two_mons"], "Did you mean 'two_moons'?"),
        (["rows.csv", "--columns", "height,wieght"], "Did you mean 'weight'"),
        (["rows.csv", "--columns", "height,,weight"], "--columns expects names"),
        (["rows.csv", "--model", "relnvp"], "Did you mean 'realnvp'?"),
        (["rows.csv", "--option", "stpes=3"], "Did you mean 'steps'?"),
        (["rows.csv", "--option", "couplings"], "--option expects key=value"),
        (["rows.csv", "--batch-size", "1000"], "is more than the 1"),
        (["two_moons", "--columns", "a,b"], "Columns can be chosen only for files"),
        (["few.csv"], "a flow needs at least 32"),
        (["holes.csv"], "drop these rows with --missing drop"),
        (["words.csv"], "Choose others: --columns a."),
    ],
)
def test_mistakes(fail, csv_file, tmp_path, arguments, message):
    (tmp_path / "few.csv").write_text("a,b\n" + "1,2\n" * 9)
    (tmp_path / "holes.csv").write_text("a,b\n" + "1,2\n" * 50 + ",3\n")
    (tmp_path / "words.csv").write_text("a,b\n1,x\n")
    assert message in fail("fit", *arguments)
    assert not (tmp_path / "runs").exists()


def test_another_run_is_not_overwritten(fail, csv_file, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.yaml").write_text("name: other\n")
    assert "another recipe" in fail("fit", "rows.csv", "--out", "taken")
