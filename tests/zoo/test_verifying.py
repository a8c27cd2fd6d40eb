import json
import shutil

import pytest

import flowzoo
from flowzoo.zoo import verify
from flowzoo.zoo.publishing import agree


def test_a_card_with_the_right_metric(zoo):
    card, measured, agrees = verify(zoo / "tiny_moons", download=False)
    assert agrees
    assert measured["nll"] == pytest.approx(card["nll"], abs=1e-6)
    assert measured["rows"] == 2000


def test_a_card_with_a_wrong_metric(zoo, tmp_path):
    directory = shutil.copytree(zoo / "tiny_moons", tmp_path / "tiny_moons")
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["test"]["nll"] -= 0.01
    (directory / "metadata.json").write_text(json.dumps(metadata))
    assert not verify(directory, download=False)[2]


def test_a_preset_without_a_recipe(tmp_path):
    flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,)).save_to_preset(tmp_path / "p")
    with pytest.raises(ValueError, match=r"metadata\.json names no recipe"):
        verify(tmp_path / "p")


def test_other_rows_are_another_measurement():
    one = {"rows": 10, "nll": 1.0}
    assert agree(one, {"rows": 10, "nll": 1.0009})
    assert not agree(one, {"rows": 10, "nll": 1.0021})
    assert not agree(one, {"rows": 11, "nll": 1.0})
    assert agree(
        {"rows": 1, "bits_per_dim": 1.0, "nll": 543.0}, {"rows": 1, "bits_per_dim": 1.0005, "nll": 543.3}
    )
