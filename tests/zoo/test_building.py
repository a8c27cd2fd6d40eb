import json
import shutil
from pathlib import Path

import pytest

import flowzoo
from flowzoo.data import toy
from flowzoo.recipes.config import ZooConfig, load_config
from flowzoo.storage.presets import preset_metadata
from flowzoo.zoo import build
from flowzoo.zoo.building import stale
from flowzoo.zoo.publishing import MOST_BYTES

ROOT = Path(__file__).parents[2]
BUNDLED = sorted(path.parent for path in (ROOT / "pretrained").glob("*/config.json"))


@pytest.fixture
def copy(zoo, tmp_path):
    return Path(shutil.copytree(zoo, tmp_path / "pretrained"))


def test_the_bundled_zoo_is_up_to_date():
    """If this fails, run `flowzoo zoo build`."""
    assert stale(ROOT / "pretrained", ROOT / "docs/zoo.md") == []


def test_a_missing_or_changed_file_is_stale(copy, tmp_path):
    table = tmp_path / "docs/zoo.md"
    assert stale(copy, table) == [table]
    build(copy, table)
    assert stale(copy, table) == []
    for path in (copy / "tiny_moons/README.md", copy / "index.json", table):
        before = path.read_text()
        path.write_text(before + "by hand")
        assert path in stale(copy, table)
        path.write_text(before)


def test_changed_metadata_make_all_files_stale(copy, tmp_path):
    table = tmp_path / "docs/zoo.md"
    build(copy, table)
    metadata = json.loads((copy / "tiny_moons/metadata.json").read_text())
    metadata["test"]["nll"] = 0.125
    (copy / "tiny_moons/metadata.json").write_text(json.dumps(metadata))
    assert set(stale(copy, table)) == {copy / "tiny_moons/README.md", copy / "index.json", table}
    assert build(copy, table) == ["tiny_moons"]
    assert "| 0.1250 ± " in table.read_text()


def test_the_table_has_a_line_with_a_link_for_each_preset(copy, tmp_path):
    table = tmp_path / "docs/deep/zoo.md"
    build(copy, table)
    line = table.read_text().splitlines()[-1]
    assert line.startswith("| [tiny_moons](../../pretrained/tiny_moons/README.md) | two_moons | ")
    assert "| 0.5 nats (Nobody, 2020) |" in line
    assert (table.parent / "../../pretrained/tiny_moons/README.md").is_file()


def test_a_preset_that_was_not_published_is_named(copy, tmp_path):
    flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,)).save_to_preset(copy / "by_hand")
    with pytest.raises(ValueError, match=r"by_hand/metadata\.json lacks data, name, .*flowzoo zoo publish"):
        build(copy, tmp_path / "zoo.md")


# -- the bundled presets -----------------------------------------------------------------------
def test_all_weights_together_are_no_more_than_80_mib():
    assert sum((path / "model.weights.h5").stat().st_size for path in BUNDLED) <= 80 * 2**20


@pytest.mark.parametrize("directory", BUNDLED, ids=lambda path: path.name)
def test_a_bundled_preset_has_its_recipe(directory):
    metadata = preset_metadata(directory)
    recipe = load_config(ROOT / "zoo_configs" / f"{directory.name}.yaml")
    assert ZooConfig.model_validate(metadata["recipe"]) == recipe
    assert (directory / "model.weights.h5").stat().st_size <= MOST_BYTES
    assert (directory / "samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("directory", [p for p in BUNDLED if p.name.startswith("nsf_")], ids=lambda p: p.name)
def test_a_neural_spline_flow_of_a_toy_is_close_to_the_entropy(directory):
    metadata = preset_metadata(directory)
    if metadata["data"]["source"] in toy.NAMES:
        assert metadata["test"]["nll"] < toy.entropy(metadata["data"]["source"]) + 0.05
