"""What mypy knows of a user's script: the public names are typed, and mistakes are found."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
import flowzoo
from flowzoo import layers
from flowzoo.applications import AnomalyDetector
from flowzoo.client import Client
from flowzoo.training import MaximumLikelihood

flow = flowzoo.create_model("realnvp", event_shape=(8,), steps=4)
reveal_type(flow)
reveal_type(flowzoo.from_pretrained("glow_mnist"))
reveal_type(flow.event_shape)
reveal_type(flow.density)
reveal_type(layers.ActNorm)
reveal_type(flowzoo.layers.Standardize())
reveal_type(flowzoo.list_models())
reveal_type(AnomalyDetector().fit(np.zeros((30, 2))))
flow.compile(objective=MaximumLikelihood(noise=0.1))
flow.export("models/mine", format="onnx")
"""
MISTAKES = """
import flowzoo

flowzoo.create_modle("realnvp", (8,))
flowzoo.create_model("realnvp", event_shape=8)
flowzoo.layers.ActNrom()
flowzoo.from_pretrained(3)
"""


def mypy(tmp_path, script):
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    return done.stdout


@pytest.mark.slow
def test_a_users_script_is_typed(tmp_path):
    shown = mypy(tmp_path, SCRIPT)
    revealed = [line.split('"')[1] for line in shown.splitlines() if "Revealed type" in line]
    assert revealed[0] == revealed[1] == "flowzoo.flow.Flow"
    assert revealed[2] == "tuple[int, ...]"
    assert revealed[3] == "flowzoo.density.Density"
    assert "-> flowzoo.layers.actnorm.ActNorm" in revealed[4]
    assert revealed[5] == "flowzoo.layers.preprocessing.standardize.Standardize"
    assert revealed[6] == "list[str]"
    assert revealed[7] == "flowzoo.applications.anomaly.AnomalyDetector"
    assert "error" not in shown


@pytest.mark.slow
def test_mistakes_in_a_users_script_are_found(tmp_path):
    shown = mypy(tmp_path, MISTAKES)
    assert [line for line in shown.splitlines() if ": error:" in line][3:]
    for words in ("create_modle", 'incompatible type "int"', "ActNrom"):
        assert words in shown
