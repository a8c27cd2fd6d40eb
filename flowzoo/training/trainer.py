"""train: one recipe to one run directory with weights, metrics, curve and samples."""

from __future__ import annotations

import csv
import os
import platform
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from flowzoo import data, files, plots
from flowzoo.config import ZooConfig, dump_config
from flowzoo.evaluation import evaluate
from flowzoo.flow import Flow
from flowzoo.registry import create_model
from flowzoo.training.optimizer import make_optimizer

RECIPE, BEST, LAST = "config.yaml", "best.weights.h5", "last.weights.h5"


def train(
    config: ZooConfig,
    run_dir: str | os.PathLike,
    *,
    data_dir: str | None = None,
    download: bool = True,
    verbose: str | int = "auto",
) -> dict:
    """Runs a recipe.

    Args:
        config: See `flowzoo.config.load_config`.
        run_dir: Gets ``config.yaml`` (resolved), ``history.csv``, ``best.weights.h5`` and
            ``last.weights.h5``, ``preset/`` (the best weights, for `from_pretrained`), ``metrics.json``,
            ``curve.png`` and ``samples.png``.
        data_dir: Where TFDS keeps prepared data sets.
        download: False to work offline.
        verbose: As in Keras.

    Returns:
        What is in ``metrics.json``: test metrics with standard errors, parameters, seconds.

    Raises:
        ValueError: Before the first step, on data or options that cannot work.
        FileExistsError: If the directory holds another run.
    """
    plots.check_available()
    run_dir = _prepare(Path(run_dir), config)
    keras.utils.set_random_seed(config.seed)
    datasets: dict[str, Any] = {
        part: _load(config, part, data_dir, download) for part in ("train", "validation", "test")
    }
    flow = _create(config, datasets["train"])
    steps = config.training.epochs * int(datasets["train"].cardinality())
    flow.compile(make_optimizer(config.training, steps), jit_compile=config.training.jit_compile)
    flow.adapt(datasets["train"])
    # Not before: a run whose data were refused must not be in the way of the next.
    with files.replacing(run_dir / RECIPE) as beside:
        beside.write_text(dump_config(config))
    start = time.monotonic()
    history = flow.fit(
        datasets["train"],
        epochs=config.training.epochs,
        validation_data=datasets["validation"],
        callbacks=_callbacks(config, run_dir, flow),
        verbose=verbose,
    )
    seconds = time.monotonic() - start
    flow.save_weights(run_dir / LAST)
    if (run_dir / BEST).exists():
        flow.load_weights(run_dir / BEST)
    metrics = {
        "name": config.name,
        "test": evaluate(flow, datasets["test"]),
        "parameters": flow.count_params(),
        "training_seconds": round(seconds, 1),
        "epochs": len(history.epoch),
        "machine": f"{os.cpu_count()} x {_processor()}",
    }
    files.write_json(run_dir / "metrics.json", metrics)
    flow.save_to_preset(run_dir / "preset", metadata=metrics)
    _draw(flow, history.history, run_dir)
    return metrics


def _prepare(run_dir: Path, config: ZooConfig) -> Path:
    run_dir.mkdir(parents=True, exist_ok=True)
    recipe = run_dir / RECIPE
    if recipe.exists() and recipe.read_text() != dump_config(config):
        raise FileExistsError(
            f"{run_dir} holds a run of another recipe; choose another directory (or delete it)."
        )
    return run_dir


def _load(config, part, data_dir, download):
    split = getattr(config.data, part)
    if split is None:
        return None
    dataset = data.load(
        config.data.source,
        split,
        batch_size=config.data.batch_size,
        shuffle=part == "train",
        drop_remainder=part == "train",
        seed=config.seed,
        data_dir=data_dir,
        download=download,
        columns=config.data.columns,
        missing=config.data.missing,
        labels=config.model.context_shape is not None,
    )
    return dataset if config.model.context_shape is None else _one_hot(dataset, config.model.context_shape)


def _one_hot(dataset, context_shape):
    """Class labels as the vectors that contexts are."""
    if dataset.element_spec[1].dtype.is_floating:
        return dataset
    return dataset.map(lambda x, label: (x, tf.one_hot(label, context_shape[0])), tf.data.AUTOTUNE)


def _create(config: ZooConfig, dataset: tf.data.Dataset) -> Flow:
    spec = dataset.element_spec
    x = spec[0] if isinstance(spec, tuple) else spec
    return create_model(
        config.model.name, tuple(x.shape[1:]), config.model.context_shape, **config.model.options
    )


def _callbacks(config: ZooConfig, run_dir: Path, flow: Flow) -> list[keras.callbacks.Callback]:
    training, callbacks = config.training, []
    if training.ema is not None:
        # First, so that those below see the averaged weights.
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    callbacks += [_History(run_dir / "history.csv"), keras.callbacks.TerminateOnNaN()]
    if config.data.validation is not None:
        monitor = "val_bits_per_dim" if flow.is_image else "val_nll"
        callbacks.append(
            keras.callbacks.ModelCheckpoint(
                str(run_dir / BEST),
                monitor,
                save_best_only=True,
                save_weights_only=True,
                mode="min",
            )
        )
        if training.patience is not None:
            callbacks.append(keras.callbacks.EarlyStopping(monitor, patience=training.patience, mode="min"))
    return callbacks


class _History(keras.callbacks.Callback):
    """Writes each epoch's metrics, the learning rate and the seconds so far as one line of a CSV."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._rows: list[dict[str, float]] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        rate = float(self.model.optimizer.learning_rate)
        seconds = round(time.monotonic() - self._start, 1)
        values = {key: float(value) for key, value in (logs or {}).items()}
        self._rows.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **values})
        with files.replacing(self._path) as beside, open(beside, "w", newline="") as file:
            writer = csv.DictWriter(file, list(self._rows[0]))
            writer.writeheader()
            writer.writerows(self._rows)


def _draw(flow: Flow, history: dict, run_dir: Path) -> None:
    plots.save_curve(history, run_dir / "curve.png")
    if flow.context_shape is not None:
        return
    if flow.is_image:
        plots.save_image_grid(
            flow.sample(64, seed=0), run_dir / "samples.png", levels=flow.pixel_levels or 256
        )
    elif flow.event_shape == (2,):
        plots.save_scatter(flow.sample(5000, seed=0), run_dir / "samples.png")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
