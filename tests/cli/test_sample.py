"""flowzoo sample."""

import numpy as np
import pytest

import flowzoo
from flowzoo.cli import sample


def pixels(path):
    import matplotlib.image

    return matplotlib.image.imread(path)


def test_tables(succeed, preset, tmp_path):
    said = succeed("sample", preset, "-n", 5, "--seed", 3, "--out", "x.csv")
    assert said == "wrote 5 samples (seed 3): x.csv\n"
    assert (tmp_path / "x.csv").read_text().startswith("x0,x1\n")
    table = np.loadtxt("x.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(table, flowzoo.from_pretrained(preset).sample(5, seed=3), rtol=1e-6)
    succeed("sample", preset, "-n", 5, "--seed", 3, "--out", "new/x.npy")
    np.testing.assert_allclose(np.load("new/x.npy"), table, rtol=1e-6)


def test_temperature(succeed, preset):
    for temperature in (1, 0.1):
        succeed("sample", preset, "--temperature", temperature, "--out", f"{temperature}.npy")
    assert np.load("0.1.npy").shape == (64, 2)
    assert np.load("0.1.npy").std() < 0.5 * np.load("1.npy").std()


def test_pictures(succeed, preset, image_file):
    assert succeed("sample", preset) == "wrote 64 samples (seed 0): samples.png\n"
    assert pixels("samples.png").shape[0] > 100
    succeed("sample", image_file, "-n", 4, "--out", "images.png")
    grid = pixels("images.png")[..., 0]
    assert grid.max() == 1.0  # 0..16 stretched to black and white.


def test_pixels_are_whole(succeed, image_file):
    succeed("sample", image_file, "-n", 4, "--out", "x.npy")
    images = np.load("x.npy")
    assert images.dtype == np.uint8
    assert images.max() <= 16


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    directory = tmp_path_factory.mktemp("flows") / "classes"
    flow = flowzoo.create_model("realnvp", (2,), (3,), steps=1, hidden_units=(8,))
    flow.save_to_preset(directory)
    return directory


def test_contexts(succeed, fail, conditional, tmp_path):
    for context in ("2", "0,0,1"):
        succeed("sample", conditional, "-n", 4, "--context", context, "--out", f"{context}.npy")
    np.testing.assert_array_equal(np.load("2.npy"), np.load("0,0,1.npy"))
    np.save(tmp_path / "c.npy", np.eye(3, dtype=np.float32))
    assert "wrote 3 samples" in succeed("sample", conditional, "--context", "c.npy", "--out", "x.npy")
    assert "conditional" in fail("sample", conditional, "--out", "x.npy")
    assert "one number of samples" in fail("sample", conditional, "-n", 4, "--context", "c.npy")
    assert "--context expects numbers" in fail("sample", conditional, "--context", "seven")
    assert "(N, 3)" in fail("sample", conditional, "-n", 4, "--context", "0.5,1")


def test_steps():
    flow = flowzoo.create_model("realnvp", (2,), dequantize=[0.5, 0.0], steps=1, hidden_units=(8,))
    x = np.array([[1.7, 1.7], [-0.2, -0.2]], np.float32)
    np.testing.assert_array_equal(
        sample.whole_steps(flow, x), np.array([[1.5, 1.7], [-0.5, -0.2]], np.float32)
    )


@pytest.mark.parametrize("out", ["x.txt", "x", "x.jpg"])
def test_endings(fail, preset, out):
    assert "must end in .png, .npy, .csv" in fail("sample", preset, "--out", out)


def test_mistakes(fail, preset, image_file, tmp_path):
    assert "A .csv is for tables" in fail("sample", image_file, "--out", "x.csv")
    assert "takes no context" in fail("sample", preset, "--context", "1")
    assert "'-n'" in fail("sample", preset, "-n", -1)
    (tmp_path / "file").touch()
    assert "in the way" in fail("sample", preset, "--out", "file/x.npy")
    (tmp_path / "folder.npy").mkdir()
    assert "is a directory" in fail("sample", preset, "--out", "folder.npy")


def test_a_picture_needs_two_columns(fail, tmp_path):
    flow = flowzoo.create_model("realnvp", (3,), steps=1, hidden_units=(8,))
    flow.save_to_preset(tmp_path / "three")
    assert "Use --out samples.csv" in fail("sample", "three", "--out", "x.png")
