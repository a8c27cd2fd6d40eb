"""Users' mistakes in an export, in both formats: one clear message, and nothing is written."""

import os
from pathlib import Path

import numpy as np
import pytest

import flowzoo

FORMATS = ("tf_saved_model", "onnx")


@pytest.fixture
def flow():
    return flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))


@pytest.mark.parametrize("format", FORMATS)
def test_weights_that_are_not_finite(flow, tmp_path, format):
    weights = flow.trainable_weights[:4]
    for weight in weights:
        weight.assign(np.full(weight.shape, np.nan))
    with pytest.raises(
        ValueError, match=r"Some weights hold NaN or infinity: .* and 1 more\. Nothing was written"
    ) as caught:
        flow.export(tmp_path / "models", format=format)
    assert weights[0].path in str(caught.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way(flow, tmp_path, format, below):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file.* is in the way: it is a file"):
        flow.export(tmp_path / "file" / below, format=format)
    assert (tmp_path / "file").is_file()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("path", ["gs://bucket/models", Path("s3://bucket/models")], ids=["str", "path"])
def test_a_bucket(flow, tmp_path, format, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"goes to a local directory; got .*bucket/models"):
        flow.export(path, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_directory_without_write_permission(flow, tmp_path, format, monkeypatch):
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(PermissionError, match=f"no permission to write into this directory: '{tmp_path}'"):
        flow.export(tmp_path, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": -1}, r"version must be a whole number from 0 to 2\*\*63 - 1; got -1"),
        ({"version": "7"}, r"version must be a whole number from 0 to 2\*\*63 - 1; got '7'"),
        ({"version": True}, "got True"),
        ({"keep": 2.5}, "keep must be at least 1 version; got 2.5"),
        ({"keep": "3"}, "got '3'"),
    ],
)
def test_invalid_versions_and_keeps_are_refused(flow, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        flow.export(tmp_path / "models", **options)
    assert not (tmp_path / "models").exists()
