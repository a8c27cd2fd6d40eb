"""The lookup of MODEL, and the parsing of options and columns."""

import os
import shutil
import subprocess
import sys

import keras
import pytest

from flowzoo.cli import common
from flowzoo.models import _pretrained


def test_model_is_a_preset_a_run_or_a_keras_file(preset, image_file, tmp_path):
    assert common.load_flow(str(preset)).event_shape == (2,)
    shutil.copytree(preset, tmp_path / "run" / "preset")
    assert common.load_flow(str(tmp_path / "run")).event_shape == (2,)
    assert common.load_flow(str(image_file)).event_shape == (8, 8, 1)


def test_a_keras_file_loads_in_a_fresh_process(image_file):
    code = f"from flowzoo.cli.common import load_flow; print(load_flow({str(image_file)!r}).event_shape)"
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout == "(8, 8, 1)\n", result.stderr
    assert result.stderr == ""  # None of TensorFlow's notes.


def test_a_wrong_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no preset 'nope'"):
        common.load_flow("nope")
    with pytest.raises(ValueError, match=r"There is no file nope\.keras"):
        common.load_flow("nope.keras")
    with pytest.raises(ValueError, match="is not a preset"):
        common.load_flow(str(tmp_path))


def test_a_keras_file_must_hold_a_flow(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"broken\.keras cannot be loaded: "):
        common.load_flow(str(tmp_path / "broken.keras"))
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="holds a Sequential, not a flow"):
        common.load_flow(str(tmp_path / "dense.keras"))


def test_the_reason_in_a_keras_error_is_found_and_short():
    error = ValueError("could not\n\nconfig={...}\n\nException encountered: no class 'A' " + "x " * 500)
    reason = _pretrained._reason(error)
    assert reason.startswith("no class 'A'")
    assert len(reason) <= 300


def test_options_are_yaml():
    pairs = ["steps=8", "hidden_units=[64, 64]", "actnorm=false", "scale_bound=1e-3", "a-b=word", "c="]
    assert common.parse_options(pairs) == {
        "steps": 8,
        "hidden_units": [64, 64],
        "actnorm": False,
        "scale_bound": 1e-3,
        "a_b": "word",
        "c": None,
    }


@pytest.mark.parametrize("pair", ["couplings", "=3", "hidden_units=[3"])
def test_options_must_be_key_value_pairs(pair):
    with pytest.raises(ValueError, match="--option"):
        common.parse_options([pair])


def test_model_and_options_are_checked_by_name():
    common.check_model("realnvp", {"steps": 3, "pixel_levels": 17, "dequantize": 1.0})
    with pytest.raises(ValueError, match="Did you mean 'steps'"):
        common.check_model("realnvp", {"setps": 3})
    with pytest.raises(ValueError, match="Did you mean 'realnvp'"):
        common.check_model("relnvp", {})


def test_columns():
    assert common.parse_columns(None) is None
    assert common.parse_columns("a, b") == ["a", "b"]
    with pytest.raises(ValueError, match="--columns"):
        common.parse_columns("a,,b")
