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


def test_marginals_show_data_and_samples(tmp_path, rng):
    data = rng.normal(size=(500, 30))
    data[0, 0], data[:, 1] = 1e9, 3.0  # One outlier, and a constant column.
    plots.save_marginals(data, data + 1, tmp_path / "marginals.png")
    assert read(tmp_path / "marginals.png").shape[:2] == (804, 1440)


class Drawn:
    """The part of a flow that `save_samples` uses."""

    pixel_levels = 256

    def __init__(self, event_shape):
        self.event_shape, self.is_image = event_shape, len(event_shape) == 3
        self.density = self

    def sample(self, count, context=None, seed=0):
        self.context = context
        return np.zeros((count, *self.event_shape))

    def dequantize(self, x):
        return x


@pytest.mark.parametrize(
    ("event_shape", "size"), [((28, 28, 1), (480, 480)), ((2,), (600, 600)), ((3,), (228, 720))]
)
def test_the_kind_of_plot_follows_the_rows(tmp_path, rng, event_shape, size):
    batches = [rng.normal(size=(50, *event_shape)) for _ in range(3)]
    plots.save_samples(Drawn(event_shape), batches, tmp_path / "samples.png")
    assert read(tmp_path / "samples.png").shape[:2] == size


def test_class_conditional_images_get_a_column_for_each_class(tmp_path):
    flow = Drawn((28, 28, 1))
    batches = [(np.zeros((50, 28, 28, 1)), np.eye(10)[np.arange(50) % 10])]
    plots.save_samples(flow, batches, tmp_path / "samples.png")
    assert read(tmp_path / "samples.png").shape[:2] == (8 * 60, 10 * 60)
    np.testing.assert_array_equal(flow.context.argmax(1).reshape(8, 10), np.tile(np.arange(10), (8, 1)))


def test_other_contexts_come_from_the_data(tmp_path, rng):
    flow, contexts = Drawn((2,)), rng.normal(size=(30, 3))
    plots.save_samples(flow, [(rng.normal(size=(30, 2)), contexts)], tmp_path / "samples.png")
    np.testing.assert_array_equal(flow.context, contexts)


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


@pytest.mark.parametrize("far", [0.0, 1e6, 3e38])
def test_scores_with_an_extreme_one_are_a_picture(tmp_path, rng, far):
    normal = rng.normal(size=500).astype(np.float32)
    groups = {"normal": normal, "anomalies": np.append(normal + 5, far).astype(np.float32)}
    plots.save_scores(groups, tmp_path / "scores.png", threshold=2.0)
    picture = read(tmp_path / "scores.png")
    assert picture.shape == (420, 720, 3)
    # Bars of the normal rows on the left half, and others on the right.
    for half in np.split(picture[50:300, 90:690], 2, axis=1):
        assert np.std(half) > 10


def test_scores_that_are_all_equal_are_a_picture(tmp_path):
    plots.save_scores({"normal": np.ones(5)}, tmp_path / "scores.png")
    assert read(tmp_path / "scores.png").shape == (420, 720, 3)


def test_without_matplotlib_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    with pytest.raises(ValueError, match=r"pip install 'flowzoo\[plot\]'"):
        plots.save_scatter(np.zeros((2, 2)), tmp_path / "scatter.png")
