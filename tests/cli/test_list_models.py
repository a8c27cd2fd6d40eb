"""flowzoo list."""

import json


def test_architectures(succeed):
    lines = succeed("list").splitlines()
    assert lines[0].split() == ["name", "events", "presets", "summary"]
    assert any(line.startswith("realnvp ") for line in lines)


def test_pattern(succeed):
    assert [line.split()[0] for line in succeed("list", "real*").splitlines()[1:]] == ["realnvp"]


def test_data(succeed):
    text = succeed("list", "--data", "*mnist")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["fashion_mnist", "mnist"]
    assert "28x28x1" in text


def test_presets(succeed, monkeypatch, preset):
    from flowzoo.storage import presets

    monkeypatch.setattr(presets, "list_presets", lambda: ["pairs"])
    monkeypatch.setattr(presets, "preset_metadata", lambda name: {"test": {"nll": 1.5}, "parameters": 1200})
    assert succeed("list", "--pretrained").splitlines()[1].split() == ["pairs", "1.500", "nats", "1,200"]


def test_presets_of_a_registry(succeed, fail, preset, tmp_path, monkeypatch):
    from flowzoo.storage.registry import describe_preset

    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    index = {"format": 1, "presets": [describe_preset(preset)]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert succeed("list", "--registry", tmp_path.as_uri()).splitlines()[1].split()[:2] == [
        "pairs",
        "realnvp",
    ]
    assert "Did you mean 'pairs'?" in fail("list", "pair", "--registry", tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"format": 1, "presets": []}))
    assert succeed("list", "--registry", tmp_path) == ""
    assert "index.json cannot be read" in fail("list", "--registry", tmp_path / "none")


def test_nothing_matches(fail):
    assert "Did you mean 'realnvp'?" in fail("list", "relnvp")
    assert "'mnist'" in fail("list", "--data", "mnst")


def test_only_one_list_at_a_time(fail):
    assert "ask for one" in fail("list", "--data", "--pretrained")
