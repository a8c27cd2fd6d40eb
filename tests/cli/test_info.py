"""flowzoo info."""


def test_architecture(succeed):
    text = succeed("info", "realnvp")
    assert "paper: Dinh, Sohl-Dickstein, Bengio" in text
    assert "url: https://arxiv.org/abs/1605.08803" in text
    assert "hidden_units  (128, 128)  vectors\n" in text


def test_preset_directory(succeed, preset):
    text = succeed("info", preset)
    assert "architecture: realnvp\n" in text
    assert "\n  nll: 3.0\n" in text
    assert "weights_sha256: " in text


def test_unknown_name(fail):
    assert "'relnvp'. Did you mean 'realnvp'" in fail("info", "relnvp")


def test_directory_without_preset(fail, tmp_path):
    assert "is not a preset" in fail("info", tmp_path)
