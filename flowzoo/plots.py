"""Pictures: grids of images, scatters of 2-D samples, densities, training curves."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from flowzoo import files


def save_image_grid(
    images: Any,
    path: str | os.PathLike,
    columns: int | None = None,
    zoom: int | None = None,
    levels: int = 256,
) -> None:
    """Writes images ``[N, H, W, C]`` (C = 1 or 3) as one PNG grid.

    Args:
        images: Values in ``[0, levels)``; they are floored to whole pixels.
        path: Ends in .png.
        columns: Images a row; about the square root of N by default.
        levels: Number of values of a pixel.
        zoom: Size of a pixel; by default such that an image is at least 56 wide.
    """
    matplotlib = _matplotlib()
    images = np.floor(np.asarray(images, np.float32)) * (255 / (levels - 1))
    images = np.clip(images, 0, 255).astype(np.uint8)
    count, height, width, channels = images.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height + 2, width + 2, channels), 64, np.uint8)
    sheet[:count, 1:-1, 1:-1] = images
    sheet = sheet.reshape(rows, columns, height + 2, width + 2, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + 2), columns * (width + 2), channels)
    zoom = zoom or max(1, -(-56 // width))
    sheet = sheet.repeat(zoom, 0).repeat(zoom, 1)
    with files.replacing(path) as beside:
        gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if channels == 1 else {}
        matplotlib.image.imsave(beside, sheet[..., 0] if channels == 1 else sheet, **gray)


def save_scatter(samples: Any, path: str | os.PathLike) -> None:
    """Writes a scatter of ``[N, 2]`` samples as a PNG."""
    figure, axes = _figure(5, 5)
    samples = np.asarray(samples)
    axes.scatter(samples[:, 0], samples[:, 1], s=2, alpha=0.5, linewidths=0)
    axes.set_aspect("equal")
    _save(figure, path)


def save_curve(history: dict[str, list[float]], path: str | os.PathLike) -> None:
    """Writes training and validation curves of a Keras history as a PNG: bits per dim, or nats."""
    metric, label = ("bits_per_dim", "bits/dim") if "bits_per_dim" in history else ("nll", "nats")
    figure, axes = _figure(6, 4)
    for key, name in ((metric, "training"), (f"val_{metric}", "validation")):
        if key in history:
            epochs = range(1, len(history[key]) + 1)
            axes.plot(epochs, history[key], marker="o", markersize=3, label=name)
    # The first epochs are far off and would flatten the rest.
    last = [value for key in (metric, f"val_{metric}") for value in history.get(key, [])[-1:]]
    top = np.percentile([v for k in (metric, f"val_{metric}") for v in history.get(k, [])], 90)
    low, high = min(last), max(top, max(last))
    if high > low:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"negative log-likelihood, {label}")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def check_available() -> None:
    """Raises a ValueError if pictures cannot be drawn here."""
    _matplotlib()


def _matplotlib():
    try:
        import matplotlib.image
    except ImportError:
        raise ValueError("Pictures need matplotlib: pip install 'flowzoo[plot]'.") from None
    return matplotlib


def _figure(width, height):
    _matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.add_subplot()


def _save(figure, path):
    with files.replacing(path) as beside:
        figure.savefig(beside)
