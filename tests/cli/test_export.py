"""flowzoo export."""

import shutil


def test_versions_and_signatures(succeed, fail, preset, tmp_path):
    text = succeed("export", preset, "served")
    assert text.startswith("wrote served/1\n")
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    signatures = {line.split()[0]: line for line in text.splitlines()[2:]}
    assert set(signatures) == {"serving_default", "log_prob", "score", "sample", "encode", "decode"}
    assert "seed int64[N], temperature float32[N]" in signatures["sample"]
    assert "log_prob float32[N], valid bool[N]" in signatures["score"]


def test_a_keras_file_and_a_run_directory(succeed, image_file, preset, tmp_path):
    text = succeed("export", image_file, "images")
    assert "x uint8[N,8,8,1]" in text
    shutil.copytree(preset, tmp_path / "run" / "preset")
    assert succeed("export", "run", "pairs").startswith("wrote pairs/1\n")


def test_keep(succeed, preset, tmp_path):
    for _ in range(3):
        succeed("export", preset, "served", "--keep", "2")
    assert {path.name for path in (tmp_path / "served").iterdir()} == {"2", "3"}


def test_onnx(succeed, preset, tmp_path):
    assert succeed("export", preset, "graphs", "--format", "onnx") == "wrote graphs\n"
    assert {path.stem for path in (tmp_path / "graphs").iterdir()} == {
        "log_prob",
        "sample",
        "encode",
        "decode",
    }


def test_verify(succeed, fail, preset, tmp_path):
    succeed("export", preset, "served")
    assert succeed("export", "--verify", "served").startswith("ok: ")
    assert "files of served/1 are as flowzoo" in succeed("export", "--verify", "served/1")
    (tmp_path / "served" / "1" / "batching_params.pbtxt").unlink()
    assert "missing: batching_params.pbtxt" in fail("export", "--verify", "served")


def test_mistakes(fail, preset, tmp_path):
    assert "needs MODEL and BASE_DIR" in fail("export", preset)
    assert "takes no MODEL" in fail("export", preset, "--verify", "served")
    assert "no directory nowhere" in fail("export", "--verify", "nowhere")
    assert "--keep" in fail("export", preset, "served", "--keep", "0")
    assert "format" in fail("export", preset, "served", "--format", "pickle")
    assert "ONNX graphs have none" in fail("export", preset, "served", "--format", "onnx", "--keep", "2")
    assert "no preset 'nope'" in fail("export", "nope", "served")
    (tmp_path / "file").touch()
    assert "in the way" in fail("export", preset, "file")
