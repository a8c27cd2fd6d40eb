"""flowzoo demo, with a smaller flow and one epoch."""

import keras
import numpy as np
import pytest

from flowzoo import from_pretrained
from flowzoo.cli import demo


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(demo, "OPTIONS", {"levels": 1, "channels": 4, "blocks": 1})


@pytest.mark.slow
def test_demo(succeed, run, tmp_path, monkeypatch):
    text = succeed("demo", "--epochs", 1)
    out = tmp_path / "demo_run"
    assert "bits/dim" in text
    assert "180 rows" in text
    assert {path.name for path in out.iterdir()} == {
        "data.png",
        "flow.keras",
        "preset",
        "samples.png",
        "saved_model",
    }
    flow = keras.saving.load_model(out / "flow.keras")
    x = np.full((2, 8, 8, 1), 5, np.uint8)
    np.testing.assert_array_equal(flow.log_prob(x), from_pretrained(out / "preset").log_prob(x))


def test_disagreement_is_an_error(run, image_file, monkeypatch):
    flow = keras.saving.load_model(image_file)
    monkeypatch.setattr(demo, "_fit", lambda seed, epochs: (flow, np.zeros((64, 8, 8, 1), np.uint8)))
    wrong = {"log_prob": np.zeros(64, np.float32), "sample": np.zeros((64, 8, 8, 1), np.float32)}
    monkeypatch.setattr(demo, "_ask", lambda model, rows: wrong)
    monkeypatch.setattr(demo, "_save", lambda flow, out: out)
    result = run("demo")
    assert result.exit_code == 1, result.output
    assert "disagree" in result.stderr


def test_out_is_a_file(fail, tmp_path):
    (tmp_path / "file").touch()
    assert "in the way" in fail("demo", "--out", "file")
