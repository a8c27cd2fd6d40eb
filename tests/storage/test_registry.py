import json

import pytest

from flowzoo.storage.registry import Stamp, check_name, describe_preset, parse_index, read_index

GOOD = {"size": 3, "sha256": "a" * 64}
FILES = dict.fromkeys(("config.json", "model.weights.h5", "metadata.json"), GOOD)


def index(**changes):
    return {"format": 1, "presets": [{"name": "toy", "architecture": "realnvp", "files": FILES, **changes}]}


def test_a_preset_is_described_and_read_again(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/config.json").write_text('{"architecture": "realnvp"}')
    (tmp_path / "toy/model.weights.h5").write_bytes(b"123")
    (tmp_path / "toy/metadata.json").write_text("{}")
    (tmp_path / "toy/notes.txt").write_text("not part of a preset")
    content = {"format": 1, "presets": [describe_preset(tmp_path / "toy")]}
    (tmp_path / "index.json").write_text(json.dumps(content))
    entry = read_index(tmp_path / "index.json")["toy"]
    assert (entry.name, entry.architecture) == ("toy", "realnvp")
    assert set(entry.files) == {"config.json", "model.weights.h5", "metadata.json"}
    for name, stamp in entry.files.items():
        assert stamp.problem(tmp_path / "toy" / name) is None


def test_without_an_index_there_are_no_presets(tmp_path):
    assert read_index(tmp_path / "index.json") == {}


def test_a_stamp_says_what_is_wrong(tmp_path):
    path = tmp_path / "file"
    assert Stamp(3, "a" * 64).problem(path) == "is missing"
    path.write_bytes(b"1234")
    assert Stamp(3, "a" * 64).problem(path) == "has 4 bytes, not 3"
    assert "sha256" in Stamp(4, "a" * 64).problem(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is not an index of presets; the file is damaged"),
        ({"format": 1}, "is not an index of presets"),
        ({"format": 2, "presets": []}, "has format 2, but this flowzoo .* Upgrade flowzoo"),
        ({"presets": []}, "has format None, which is not a number"),
        (index(name="../../etc"), r"'../../etc' is not a valid preset name"),
        (index(name="a/b"), "not a valid preset name"),
        (index(name=".hidden"), "not a valid preset name"),
        (index(name=7), "not a valid preset name"),
        (
            index(files=FILES | {"../../.bashrc": GOOD}),
            "'../../.bashrc', which is not a file of a preset",
        ),
        (index(files=FILES | {"weights.pkl": GOOD}), "'weights.pkl', which is not a file of a preset"),
        (index(files={"config.json": GOOD}), "the entry of toy is incomplete"),
        (index(files=FILES | {"config.json": {"size": "3", "sha256": "a" * 64}}), "is incomplete"),
        (index(files=FILES | {"config.json": {"size": 3, "sha256": "short"}}), "is incomplete"),
        (index(architecture=None), "is incomplete"),
        (index(files=None), "an entry without files"),
    ],
)
def test_a_wrong_index_is_refused_by_name(content, message):
    with pytest.raises(ValueError, match=f"somewhere.*{message}"):
        parse_index(content, "somewhere")


@pytest.mark.parametrize("name", ["", "a b", "a" * 101, "ü", "x\n", None])
def test_invalid_names_are_refused(name):
    with pytest.raises(ValueError, match="not a valid preset name"):
        check_name(name, "here")
