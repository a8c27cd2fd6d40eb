"""flowzoo evaluate."""

import re

import numpy as np

import flowzoo


def test_a_file(succeed, preset, csv_file, rows):
    text = succeed("evaluate", preset, csv_file, "--split", "all", "--batch-size", 64)
    nll = -flowzoo.from_pretrained(preset).log_prob(rows).numpy()
    mean, error = re.fullmatch(r"(\S+) ± (\S+) nats \(negative log-likelihood of 200 rows\)\n", text).groups()
    np.testing.assert_allclose(float(mean), nll.mean(), atol=1e-3)
    np.testing.assert_allclose(float(error), nll.std() / np.sqrt(200), rtol=1e-2)


def test_images_have_bits(succeed, image_file):
    assert re.match(
        r"\S+ ± \S+ bits/dim, \S+ ± \S+ nats .* 180 rows", succeed("evaluate", image_file, "digits")
    )


def test_missing_values(succeed, fail, preset, tmp_path):
    (tmp_path / "holes.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    arguments = ("evaluate", preset, "holes.csv", "--split", "all")
    assert "1 of 3 rows" in fail(*arguments)
    assert "of 2 rows" in succeed(*arguments, "--missing", "drop")
    assert "of 3 rows" in succeed(*arguments, "--missing", "mean")
    assert "missing must be 'error', 'drop' or 'mean'; got 'men'" in fail(*arguments, "--missing", "men")


def test_mistakes(fail, preset, csv_file, tmp_path):
    assert "no preset 'nope'" in fail("evaluate", "nope", csv_file)
    assert "There is no file" in fail("evaluate", preset, "nope.csv")
    assert "Did you mean 'two_moons'" in fail("evaluate", preset, "two_mons")
    assert "split='tset'" in fail("evaluate", preset, csv_file, "--split", "tset")
    np.save(tmp_path / "wide.npy", np.zeros((9, 3), np.float32))
    assert "shape (2,); wide.npy has rows of shape (3,)" in fail(
        "evaluate", preset, "wide.npy", "--split", "all"
    )
    assert "shape (2,); digits has rows of shape (8, 8, 1)" in fail("evaluate", preset, "digits")
