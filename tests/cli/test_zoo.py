"""flowzoo zoo."""

import json

import pytest

RECIPE = """
name: tiny
model: {name: realnvp, options: {steps: 1, hidden_units: [4]}}
data: {source: two_moons, train: "train[:512]", validation: null, test: "test[:64]", batch_size: 256}
training: {epochs: 1, jit_compile: false}
"""


def test_from_a_run_to_a_verified_preset(succeed, run, tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    succeed("train", "tiny.yaml", "--no-download")
    text = succeed("zoo", "publish", "runs/tiny", "--to", "pretrained", "--no-download")
    assert text.startswith("published tiny to pretrained: ")
    assert succeed("zoo", "build") == "1 presets: pretrained/index.json, docs/zoo.md\n"
    assert "[tiny](../pretrained/tiny/README.md)" in (tmp_path / "docs/zoo.md").read_text()
    lines = succeed("zoo", "verify", "pretrained/tiny", "--no-download").splitlines()
    assert lines[0].split() == ["preset", "card", "measured", "verdict"]
    assert lines[1].split()[-1] == "agrees"

    path = tmp_path / "pretrained/tiny/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["test"]["nll"] += 1
    path.write_text(json.dumps(metadata))
    result = run("zoo", "verify", "pretrained/tiny")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].split()[-1] == "differs"

    metadata["recipe"]["data"]["source"] = "mnist"
    path.write_text(json.dumps(metadata))
    result = run("zoo", "verify", "pretrained/tiny", "--data-dir", "empty", "--no-download")
    assert result.exit_code == 1
    assert "no data: mnist is not prepared" in result.stdout


def test_help_names_the_commands(succeed):
    text = succeed("zoo", "--help")
    assert all(name in text for name in ("publish", "build", "verify"))
    assert "..." not in text.replace("[ARGS]...", "")


def test_mistakes(fail, tmp_path):
    assert "Missing command" in fail("zoo")
    assert "holds no finished run" in fail("zoo", "publish", tmp_path, "--to", "zoo")
    assert "There is no directory pretrained" in fail("zoo", "build")
    assert "Name presets to verify, or give --all" in fail("zoo", "verify")
    assert "Name presets to verify, or give --all" in fail("zoo", "verify", "x", "--all")
    assert "There is no preset 'nope'" in fail("zoo", "verify", "nope")


@pytest.mark.parametrize("registry", ["https://example.com/zoo", "http://example.com"])
def test_a_registry_that_can_only_be_read(fail, tmp_path, registry):
    assert "can only be read" in fail("zoo", "publish", tmp_path, "--to", registry)
