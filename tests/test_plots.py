import sys

import numpy as np
import pytest
from PIL import Image

from flowzoo import plots


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_each_image_in_its_place(tmp_path, channels):
    images = np.zeros((5, 4, 4, channels))
    images += 40 * np.arange(5)[:, None, None, None]
    plots.save_image_grid(images, tmp_path / "grid.png", columns=3, zoom=1)
    sheet = read(tmp_path / "grid.png")
    assert sheet.shape == (2 * 6, 3 * 6, 3)
    for i in range(5):
        row, column = 6 * (i // 3) + 1, 6 * (i % 3) + 1
        np.testing.assert_array_equal(sheet[row : row + 4, column : column + 4], 40 * i)
    np.testing.assert_array_equal(sheet[0], 64)


def test_small_images_are_enlarged_and_large_ones_left(tmp_path):
    plots.save_image_grid(np.zeros((1, 8, 8, 1)), tmp_path / "small.png")
    plots.save_image_grid(np.zeros((1, 60, 60, 1)), tmp_path / "large.png")
    assert read(tmp_path / "small.png").shape[:2] == (70, 70)
    assert read(tmp_path / "large.png").shape[:2] == (62, 62)


def test_values_are_floored_and_clipped_to_pixels(tmp_path):
    images = np.array([-5.0, 7.9, 255.99, 300.0]).reshape(1, 2, 2, 1)
    plots.save_image_grid(images, tmp_path / "grid.png", zoom=1)
    assert read(tmp_path / "grid.png")[1:3, 1:3, 0].ravel().tolist() == [0, 7, 255, 255]


def test_a_grid_is_about_square_by_default(tmp_path):
    plots.save_image_grid(np.zeros((16, 60, 60, 1)), tmp_path / "grid.png")
    assert read(tmp_path / "grid.png").shape[:2] == (4 * 62, 4 * 62)


def test_a_scatter_is_a_picture_with_points(tmp_path, rng):
    plots.save_scatter(rng.normal(size=(100, 2)), tmp_path / "scatter.png")
    picture = read(tmp_path / "scatter.png")
    assert picture.shape == (600, 600, 3)
    assert np.std(picture[100:500, 100:500]) > 1


@pytest.mark.parametrize(
    "history",
    [
        {"nll": [3.0, 2.0], "val_nll": [3.1, 2.5]},
        {"nll": [1e9, 2.0, 1.9]},
        {"nll": [1.0], "bits_per_dim": [2.0], "val_bits_per_dim": [2.0]},
    ],
)
def test_a_curve_is_a_picture(tmp_path, history):
    plots.save_curve(history, tmp_path / "curve.png")
    assert read(tmp_path / "curve.png").shape == (480, 720, 3)


def test_without_matplotlib_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    with pytest.raises(ValueError, match=r"pip install 'flowzoo\[plot\]'"):
        plots.save_scatter(np.zeros((2, 2)), tmp_path / "scatter.png")
