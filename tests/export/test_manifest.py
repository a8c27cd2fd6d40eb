"""The manifest of an exported version, and the check of a version against it."""

import json
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.export import read_manifest, verify_export
from flowzoo.testing import make_flow

MANIFEST = "flowzoo_manifest.json"


@pytest.fixture(scope="module")
def flow():
    return make_flow("realnvp", (2,), (3,), dtype="float32", steps=2, hidden_units=(4,))


@pytest.fixture
def version(flow, tmp_path):
    return flow.export(tmp_path / "model")


def test_the_manifest_says_what_the_version_is(version):
    manifest = read_manifest(version)
    assert manifest["flowzoo"] == flowzoo.__version__
    assert (manifest["tensorflow"], manifest["keras"]) == (tf.__version__, keras.__version__)
    assert manifest["architecture"] == "realnvp"
    assert (manifest["event_shape"], manifest["context_shape"]) == ([2], [3])
    assert manifest["units"]["log_prob"].startswith("nats")
    assert "bits_per_dim" not in manifest["units"]
    assert manifest["signatures"]["sample"] == {
        "inputs": {
            "seed": {"dtype": "int64", "shape": [None]},
            "temperature": {"dtype": "float32", "shape": [None]},
            "context": {"dtype": "float32", "shape": [None, 3]},
        },
        "outputs": {"x": {"dtype": "float32", "shape": [None, 2]}},
    }


def test_every_file_but_the_manifest_is_in_it(version):
    on_disk = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    manifest = read_manifest(version)
    assert set(manifest["files"]) == on_disk - {MANIFEST}
    assert {"saved_model.pb", "batching_params.pbtxt", "assets.extra/tf_serving_warmup_requests"} <= on_disk
    size = (version / "saved_model.pb").stat().st_size
    assert manifest["files"]["saved_model.pb"]["size"] == size


def test_a_good_version_is_found_from_the_base_directory_too(flow, version):
    assert verify_export(version) == version
    newest = flow.export(version.parent, version=10)
    (version.parent / ".writing-x").mkdir()
    assert verify_export(version.parent) == newest


def test_every_wrong_file_is_named(version):
    saved_model = bytearray((version / "saved_model.pb").read_bytes())
    saved_model[100] ^= 1
    (version / "saved_model.pb").write_bytes(saved_model)
    (version / "batching_params.pbtxt").unlink()
    (version / "notes.txt").touch()
    wanted = r"changed: saved_model.pb; missing: batching_params.pbtxt; extra: notes.txt\."
    with pytest.raises(ValueError, match=wanted):
        verify_export(version.parent)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "lists no files; the file is damaged"),
        (json.dumps({"format": 99, "files": {}}), "has format 99, but this flowzoo"),
    ],
)
def test_a_manifest_that_cannot_be_read(version, manifest, message):
    (version / MANIFEST).write_text(manifest)
    with pytest.raises(ValueError, match=message):
        verify_export(version)


def test_a_version_without_a_manifest(version):
    (version / MANIFEST).unlink()
    with pytest.raises(ValueError, match=f"has no {MANIFEST}"):
        verify_export(version)


def test_a_directory_without_a_version(tmp_path):
    with pytest.raises(ValueError, match="holds no exported version"):
        verify_export(tmp_path)
    with pytest.raises(ValueError, match="There is no directory"):
        verify_export(tmp_path / "nowhere")


def test_the_check_needs_no_tensorflow(version):
    code = f"""
import sys
from flowzoo.export import verify_export
print(verify_export({str(version)!r}).name)
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
