"""flowzoo export."""


def test_versions_and_signatures(succeed, fail, preset, tmp_path):
    text = succeed("export", preset, "served")
    assert text.startswith("wrote served/1\n")
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    signatures = {line.split()[0]: line for line in text.splitlines()[2:]}
    assert set(signatures) == {"serving_default", "log_prob", "score", "sample", "encode", "decode"}
    assert "seed int64[N], temperature float32[N]" in signatures["sample"]
    assert "log_prob float32[N], valid bool[N]" in signatures["score"]


def test_mistakes(fail, preset, tmp_path):
    assert "format" in fail("export", preset, "served", "--format", "pickle")
    assert "no preset 'nope'" in fail("export", "nope", "served")
    (tmp_path / "file").touch()
    assert "in the way" in fail("export", preset, "file")
