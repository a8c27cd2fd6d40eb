"""Plots: image grids, scatter plots, histograms of columns and scores, training curves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from flowzoo.storage import files
from flowzoo.utils.metrics import main_metric

if TYPE_CHECKING:
    import tensorflow as tf

    from flowzoo.flow import Flow


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
        path: Path that ends in .png.
        columns: Images per row; about the square root of N by default.
        zoom: Factor by which pixels are enlarged; by default, an image is at least 56 pixels wide.
        levels: Number of values of a pixel.
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


def save_marginals(data: Any, samples: Any, path: str | os.PathLike) -> None:
    """Writes histograms of the first 24 columns of ``[N, D]`` data and samples as a PNG."""
    data, samples = np.asarray(data), np.asarray(samples)
    shown = min(data.shape[1], 24)
    columns = min(shown, 6)
    rows = -(-shown // columns)
    figure, axes = _figure(2 * columns, 1.6 * rows + 0.3, rows, columns)
    for i, each in enumerate(axes.flat):
        each.set_xticks([])
        each.set_yticks([])
        each.set_visible(i < shown)
        if i < shown:
            # Quantiles, because one outlier would squeeze all other values into one bar.
            low, high = np.quantile(data[:, i], (0.002, 0.998))
            bins = np.linspace(low, high if high > low else low + 1, 41)
            each.hist(data[:, i], bins, density=True, color="lightgray", label="data")
            each.hist(samples[:, i], bins, density=True, histtype="step", label="samples")
            each.set_title(f"column {i}", fontsize=8)
    axes.flat[0].legend(fontsize=6)
    _save(figure, path)


def save_samples(flow: Flow, dataset: tf.data.Dataset, path: str | os.PathLike) -> None:
    """Writes samples as a PNG: an image grid, a scatter plot, or histograms next to those of the data.

    Args:
        flow: A flow.
        dataset: Batches of rows, or of (rows, context) for a conditional flow, which samples with these
            contexts. Class-conditional images get one column for each class.
        path: Path that ends in .png.
    """
    x, context = _first_rows(dataset, 64 if flow.is_image else 5000)
    if flow.is_image and context is not None and ((context == 0) | (context == 1)).all():
        classes = context.shape[1]
        samples = flow.sample(8 * classes, np.tile(np.eye(classes), (8, 1)), seed=0)
        save_image_grid(samples, path, classes, levels=flow.pixel_levels or 256)
        return
    samples = flow.sample(len(x), context, seed=0)
    if flow.is_image:
        save_image_grid(samples, path, levels=flow.pixel_levels or 256)
    elif flow.event_shape == (2,):
        save_scatter(samples, path)
    else:
        # Spread rounded data within their steps, like the samples.
        save_marginals(flow.density.dequantize(x.astype(np.float32)), samples, path)


def _first_rows(dataset, count):
    """At most `count` rows of a dataset's batches, and their contexts if there are any."""
    rows, contexts = [], []
    for batch in dataset:
        x, context = batch if isinstance(batch, tuple) else (batch, None)
        rows.append(np.asarray(x))
        contexts.append(context)
        if sum(map(len, rows)) >= count:
            break
    x = np.concatenate(rows)[:count]
    return x, None if contexts[0] is None else np.concatenate(contexts)[:count]


def save_curve(history: dict[str, list[float]], path: str | os.PathLike) -> None:
    """Writes training and validation curves of a Keras history as a PNG, in bits per dim or nats."""
    metric, label = main_metric(history)
    figure, axes = _figure(6, 4)
    for key, name in ((metric, "training"), (f"val_{metric}", "validation")):
        if key in history:
            epochs = range(1, len(history[key]) + 1)
            axes.plot(epochs, history[key], marker="o", markersize=3, label=name)
    # The first epochs have far higher values and would flatten the rest.
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


def save_scores(
    scores: dict[str, np.ndarray], path: str | os.PathLike, threshold: float | None = None
) -> None:
    """Writes histograms of anomaly scores as a PNG.

    Args:
        scores: Scores ``[N]`` in nats for each group of rows, normal rows first.
        path: Path that ends in .png.
        threshold: Score at which to draw a line.
    """
    figure, axes = _figure(6, 3.5)
    # Extreme anomalies would squeeze all other scores into one bar: the last bar holds everything beyond.
    normal = np.asarray(next(iter(scores.values())))
    low = min(float(np.min(values)) for values in scores.values())
    high = normal.max() + 2 * (np.quantile(normal, 0.95) - normal.min())
    bins = np.linspace(low, max(high, low + 1), 61)
    for name, values in scores.items():
        inside = np.minimum(values, bins[-1])
        share = np.full(len(inside), 1 / len(inside))
        axes.hist(inside, bins, weights=share, alpha=0.6, label=f"{name} ({len(inside):,})")
    if threshold is not None:
        axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    axes.set_xlabel("score, nats (last bar: beyond)")
    axes.set_ylabel("share of the rows")
    axes.legend(fontsize=8)
    _save(figure, path)


def check_available() -> None:
    """Raises a ValueError if matplotlib is not installed."""
    _matplotlib()


def _matplotlib():
    try:
        import matplotlib.image
    except ImportError:
        raise ValueError("Plots need matplotlib: pip install 'flowzoo[plot]'.") from None
    return matplotlib


def _figure(width, height, rows=1, columns=1):
    _matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots(rows, columns)


def _save(figure, path):
    with files.replacing(path) as beside:
        figure.savefig(beside)
