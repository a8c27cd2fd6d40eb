"""Runs the commands and the Python code of the guides, unchanged; the commands run in this process."""

import json
import re
import shlex
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import flowzoo
from flowzoo.cli import app

GUIDE = Path(__file__).resolve().parents[1] / "docs/guides/train-on-your-own-data.md"


def commands():
    text = GUIDE.read_text()
    return [line for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines()]


def run(command):
    """Runs `flowzoo ...`, which must succeed; returns what it wrote to stderr."""
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, (command, result.output, result.exception)
    return result.stderr


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """A working directory with the files that the guide mentions."""
    monkeypatch.chdir(tmp_path)
    temperature = rng.normal(20, 3, 3000)
    pressure = 1010 + 0.8 * (temperature - 20) + rng.normal(0, 2, 3000)
    counts = rng.poisson(np.exp(0.1 * (temperature - 10)))
    lines = [f"{t:.1f},{p:.2f},{c}" for t, p, c in zip(temperature, pressure, counts, strict=True)]
    header = "temperature,pressure,counts\n"
    (tmp_path / "readings.csv").write_text(header + "\n".join(lines) + "\n")
    (tmp_path / "new.csv").write_text(header + "\n".join(lines[:50]) + "\n")
    (tmp_path / "readings.yaml").write_text(re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.S)[0])
    return tmp_path


@pytest.mark.slow
def test_train_on_your_own_data(folder):
    for command in commands():
        if command.startswith("curl") or " serve " in command:
            continue
        # Fewer epochs: what they lead to is measured elsewhere.
        assert "repeated values" not in run(re.sub(r"epochs(.)\d+", r"epochs\g<1>2", command)), command
    assert len((folder / "scores.csv").read_text().splitlines()) == 51
    assert len((folder / "samples.csv").read_text().splitlines()) >= 1000
    assert (folder / "runs/readings_recipe/metrics.json").is_file()
    assert (folder / "models/readings/1/flowzoo_manifest.json").is_file()


@pytest.mark.slow
def test_the_request_of_the_guide(folder):
    from flowzoo import testing
    from flowzoo.devserver.server import Server

    flow = testing.make_flow("nsf", (3,), dtype="float32", steps=1, hidden_units=(4,))
    flow.export(folder / "models/readings")
    (curl,) = [command for command in commands() if command.startswith("curl")]
    _, _, body, url = shlex.split(curl)
    with Server(folder / "models/readings") as server:
        request = urllib.request.Request(url.replace("localhost:8501", server.rest_address), body.encode())
        reply = json.load(urllib.request.urlopen(request))
    wanted = float(flow.log_prob(np.array(json.loads(body)["inputs"]["x"], "float32"))[0])
    assert reply["outputs"]["log_prob"][0] == pytest.approx(wanted, rel=1e-5)
    assert reply["outputs"]["valid"] == [True]


PRESETS = GUIDE.with_name("presets.md").read_text()


@pytest.mark.slow
def test_presets(tmp_path, monkeypatch):
    """The guide's commands, with a recipe of one epoch, its Python, and a load from the resulting zoo."""
    import yaml

    recipe = yaml.safe_load((GUIDE.parents[2] / "zoo_configs/nsf_checkerboard.yaml").read_text())
    recipe["training"]["epochs"] = 1
    (tmp_path / "zoo_configs").mkdir()
    (tmp_path / "zoo_configs/nsf_checkerboard.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```console\n(.*?)```", PRESETS, re.S):
        for command in block.splitlines():
            run(command)
    exec(re.findall(r"```python\n(.*?)```", PRESETS, re.S)[0], {})
    assert (tmp_path / "samples.png").is_file()
    assert flowzoo.from_pretrained("nsf_checkerboard", registry=tmp_path / "zoo").event_shape == (2,)


ANOMALIES = GUIDE.with_name("anomaly-detection.md").read_text()


@pytest.mark.slow
def test_anomaly_detection(tmp_path, monkeypatch):
    """The guide from top to bottom: Python in one session, commands in the same folder, a server."""
    from flowzoo.devserver.server import Server

    monkeypatch.chdir(tmp_path)
    session = {}
    *blocks, (_, ask_server) = re.findall(r"```(python|console)\n(.*?)```", ANOMALIES, re.S)
    for language, block in blocks:
        if language == "python":
            exec(block, session)
            continue
        for command in block.splitlines():
            if " serve " not in command:
                run(command)
    assert session["auroc"] > 0.9
    assert (tmp_path / "anomaly_scores.png").is_file()
    flagged = np.genfromtxt("flagged.csv", delimiter=",", skip_header=1, usecols=2, dtype=str) == "true"
    np.testing.assert_array_equal(flagged, session["flagged"])
    with Server("models") as server:
        exec(ask_server.replace("localhost:8501", server.rest_address), session)
    np.testing.assert_allclose(-session["log_prob"], session["scores"], rtol=1e-4, atol=1e-3)
    assert session["valid"].all()
    np.testing.assert_array_equal(session["anomaly"], session["flagged"])


IMAGES = GUIDE.with_name("image-synthesis.md").read_text()


@pytest.mark.slow
def test_image_synthesis(tmp_path, monkeypatch):
    """The guide's Python in one session, with one epoch; the pictures that the guide shows are drawn."""
    monkeypatch.chdir(tmp_path)
    session = {}
    for block in re.findall(r"```python\n(.*?)```", IMAGES, re.S):
        exec(re.sub(r"epochs=\d+", "epochs=1", block), session)
    shown = re.findall(r"\.\./images/(.*?\.png)", IMAGES)
    assert {*shown, "digits.png"} == {path.name for path in tmp_path.glob("*.png")}
    ways, real = session["ways"], session["real"]
    ends = np.stack([real[:4], real[4:8]], axis=1)
    assert (np.floor(ways[:, [0, -1]]) == ends).mean() > 0.99
    pretrained, tuned = (
        flow.evaluate(session["images"][:256], verbose=0, return_dict=True)["bits_per_dim"]
        for flow in (flowzoo.from_pretrained("glow_mnist"), session["tuned"])
    )
    assert tuned < pretrained - 0.1
