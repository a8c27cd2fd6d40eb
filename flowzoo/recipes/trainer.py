"""train: runs a recipe and writes a run directory with weights, metrics, curve and samples."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from flowzoo import data, plots
from flowzoo.data.formats.columns import as_list
from flowzoo.flow import Flow
from flowzoo.models._factory import create_model
from flowzoo.recipes import distribution
from flowzoo.recipes.checkpoint import Checkpoint, check_room
from flowzoo.recipes.config import ZooConfig, dump_config, load_config
from flowzoo.recipes.evaluation import evaluate
from flowzoo.recipes.event_files import EventFiles
from flowzoo.recipes.optimizer import make_optimizer
from flowzoo.recipes.progress import Progress
from flowzoo.storage import files
from flowzoo.storage.locks import held
from flowzoo.storage.provenance import machine, revision, versions

RECIPE, CHECKPOINTS, METRICS = "config.yaml", "checkpoints", "metrics.json"
LAST, BEST = "last.weights.h5", "best.weights.h5"
# What a run replaces or removes in its directory.
_WRITTEN = (
    CHECKPOINTS,
    METRICS,
    LAST,
    BEST,
    "history.csv",
    "preset",
    "tensorboard",
    "curve.png",
    "samples.png",
)


def train(
    config: ZooConfig,
    run_dir: str | os.PathLike,
    *,
    data_dir: str | None = None,
    download: bool = True,
    verbose: bool = True,
    strategy: tf.distribute.Strategy | None = None,
) -> dict:
    """Runs a recipe, or resumes an earlier run of it in the same directory.

    A run that is stopped and resumed gives the same result as an uninterrupted one. The last checkpoint
    restores weights, optimizer, averages and random state, and the order of the rows depends only on seed and
    epoch. A finished run is not run again.

    Args:
        config: See `flowzoo.recipes.config.load_config`.
        run_dir: Directory for ``config.yaml`` (resolved), ``history.csv``, ``best.weights.h5`` and
            ``last.weights.h5``, ``preset/`` (the best weights, for `from_pretrained`), ``tensorboard/``,
            ``curve.png`` and ``samples.png``; ``metrics.json`` comes last.
        data_dir: Directory of TFDS's prepared data sets.
        download: False to work offline.
        verbose: Whether to show a line for each epoch and, on a terminal, a bar.
        strategy: Splits each batch between devices or machines. Every machine must call this with the same
            arguments and a directory that all can read; worker 0 writes it.

    Returns:
        The content of ``metrics.json``: test metrics with standard errors, parameters, seconds, versions of
        the software, and flowzoo's commit if it runs from a checkout.

    Raises:
        ValueError: If data or options cannot work; before the first step.
        FileExistsError: If the directory holds another run, or files that are not a run's.
        RuntimeError: If another process trains in the directory; the message names it.
        OSError: If the directory cannot be written to, or is too full; before the first step if possible.
        FloatingPointError: If many steps in a row are not finite; see `flowzoo.training.skipped_steps`.
        ConnectionError: If another worker is lost.
    """
    plots.check_available()
    run_dir = _prepare(Path(run_dir), config)
    if is_finished(run_dir):
        return files.read_json(run_dir / METRICS)
    with (
        held(run_dir, "a training") if distribution.is_chief(strategy) else contextlib.nullcontext(),
        distribution.own_directory(strategy, run_dir) as directory,
        distribution.telling_of_lost_workers(),
    ):
        verbose = verbose and distribution.is_chief(strategy)
        metrics = _run(config, directory, data_dir, download, verbose, strategy)
        distribution.wait_for_all(strategy)
    return metrics


def _run(config, run_dir, data_dir, download, verbose, strategy):
    keras.utils.set_random_seed(config.seed)
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    datasets: dict[str, Any] = {
        part: load_part(config, part, epoch=epoch, data_dir=data_dir, download=download)
        for part in ("train", "validation", "test")
    }
    steps = config.training.epochs * int(datasets["train"].cardinality())
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        flow = _create(config, datasets["train"], config.training.precision)
        flow.compile(
            make_optimizer(config.training, steps),
            jit_compile=config.training.jit_compile,
            memory_efficient=config.training.memory_efficient,
            l2=config.training.l2,
            noise=config.training.noise,
            seed=config.seed,
        )
    check_room(run_dir, flow)
    # Workers' clocks differ, but all must write at the same epoch: under a strategy, after each one.
    between = config.training.checkpoint_seconds if strategy is None else 0.0
    checkpoint = Checkpoint(run_dir / CHECKPOINTS, _monitor(config, flow), config.training.patience, between)
    resumed = checkpoint.restore(flow)
    with Progress(config.data.batch_size) if verbose else contextlib.nullcontext() as progress:
        flow.fit(
            datasets["train"],
            initial_epoch=checkpoint.epochs_done,
            # With no epoch left, `fit` still finalizes the last weights and the logs.
            epochs=checkpoint.epochs_done if checkpoint.is_finished_early else config.training.epochs,
            validation_data=datasets["validation"],
            callbacks=[
                *([] if resumed else [_recipe_writer(config, run_dir)]),
                *_callbacks(config, run_dir, checkpoint, epoch),
                *([progress] if progress else []),
            ],
            verbose=0,
        )
    flow.save_weights(run_dir / LAST)
    best = checkpoint.best_weights()
    if best is not None:
        flow.set_weights(best)
        flow.save_weights(run_dir / BEST)
    if config.training.precision != "float32":
        trained, flow = flow, _create(config, datasets["train"])
        flow.set_weights(trained.get_weights())
    # Saved before the evaluation, which fails if a test row has no finite density.
    columns = {"columns": config.data.columns}
    flow.save_to_preset(run_dir / "preset", metadata=columns)
    metrics = {
        "name": config.name,
        "test": evaluate(flow, datasets["test"]),
        "parameters": flow.count_params(),
        "training_seconds": checkpoint.seconds,
        "epochs": checkpoint.epochs_done,
        "machine": machine(),
        "versions": versions(),
        "revision": revision(),
    }
    flow.save_to_preset(run_dir / "preset", metadata=metrics | columns)
    plots.save_curve(_columns(checkpoint.history), run_dir / "curve.png")
    plots.save_samples(flow, datasets["test"], run_dir / "samples.png")
    # Written last, because its existence marks the run as finished.
    files.write_json(run_dir / METRICS, metrics)
    shutil.rmtree(run_dir / CHECKPOINTS, ignore_errors=True)
    return metrics


def is_finished(run_dir: str | os.PathLike) -> bool:
    """Whether the directory holds a finished run."""
    return (Path(run_dir) / METRICS).is_file()


def _prepare(run_dir: Path, config: ZooConfig) -> Path:
    run_dir.mkdir(parents=True, exist_ok=True)
    recipe = run_dir / RECIPE
    strangers = [] if recipe.exists() else [name for name in _WRITTEN if (run_dir / name).exists()]
    if strangers:
        raise FileExistsError(
            f"{run_dir} is not a run of flowzoo (it has no {RECIPE}), but holds {', '.join(strangers)}, "
            "which a training would replace. Choose another directory."
        )
    if recipe.exists() and not _trains_as(recipe, config):
        raise FileExistsError(
            f"{run_dir} holds a run of another recipe; choose another directory, or delete this one."
        )
    return run_dir


def _trains_as(recipe: Path, config: ZooConfig) -> bool:
    try:
        return load_config(recipe).trains_as(config)
    except ValueError:  # Not a recipe, or a recipe of a later flowzoo.
        return False


def load_part(
    config: ZooConfig,
    part: str,
    *,
    epoch: tf.Variable | None = None,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
) -> tf.data.Dataset | None:
    """The "train", "validation" or "test" rows of a recipe as inputs of the flow; None without that split."""
    split = getattr(config.data, part)
    if split is None:
        return None
    if config.model.context_shape is not None:
        _check_classes(config)
    dataset = data.load(
        config.data.source,
        split,
        batch_size=config.data.batch_size,
        shuffle=part == "train",
        drop_remainder=part == "train",
        seed=config.seed,
        epoch=epoch,
        data_dir=data_dir,
        download=download,
        columns=config.data.columns,
        missing=config.data.missing,
        labels=config.model.context_shape is not None,
    )
    return dataset if config.model.context_shape is None else _one_hot(dataset, config.model.context_shape)


def _check_classes(config: ZooConfig) -> None:
    """Raises a ValueError if the context size is not the number of classes of a catalog data set."""
    source, (size,) = config.data.source, config.model.context_shape or (0,)
    classes = data.dataset_info(source).num_classes if source in data.list_datasets() else size
    if classes != size:
        raise ValueError(
            f"The recipe's contexts have {size} entries, but {source} has {classes or 'no'} classes: "
            + (f"set model.context_shape to [{classes}]." if classes else "leave model.context_shape out.")
        )


def _one_hot(dataset, context_shape):
    """Encodes class labels as one-hot contexts."""
    if dataset.element_spec[1].dtype.is_floating:
        return dataset
    size = context_shape[0]
    message = f"A label is not one of 0 to {size - 1}. Set model.context_shape to the number of classes."

    def vectors(x, label):
        # The cast makes negative labels large, so one comparison rejects both.
        known = tf.debugging.assert_less(tf.cast(label, tf.uint64), tf.constant(size, tf.uint64), message)
        with tf.control_dependencies([known]):
            return x, tf.one_hot(label, size)

    return dataset.map(vectors, tf.data.AUTOTUNE)


def _create(config: ZooConfig, dataset: tf.data.Dataset, precision: str = "float32") -> Flow:
    spec = dataset.element_spec
    x = spec[0] if isinstance(spec, tuple) else spec
    options = config.model.options
    if precision != "float32":
        options = {**options, "dtype": precision}
    flow = create_model(config.model.name, tuple(x.shape[1:]), config.model.context_shape, **options)
    columns = [column for column in as_list(config.data.columns) or [] if isinstance(column, str)]
    if flow.event_shape == (len(columns),):
        flow.columns = columns
    return flow


def _monitor(config: ZooConfig, flow: Flow) -> str | None:
    if config.data.validation is None:
        return None
    return "val_bits_per_dim" if flow.is_image else "val_nll"


def _recipe_writer(config: ZooConfig, run_dir: Path) -> keras.callbacks.Callback:
    """Writes the recipe after `fit` has adapted, so that rejected data do not leave a run behind."""

    def write(logs: dict | None) -> None:
        with files.replacing(run_dir / RECIPE) as beside:
            beside.write_text(dump_config(config))

    return keras.callbacks.LambdaCallback(on_train_begin=write)


def _callbacks(
    config: ZooConfig, run_dir: Path, checkpoint: Checkpoint, epoch: tf.Variable
) -> list[keras.callbacks.Callback]:
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda number, logs: epoch.assign(number)),
        _Log(checkpoint),
        checkpoint,
        _HistoryFile(checkpoint, run_dir / "history.csv"),
        EventFiles(checkpoint, run_dir / "tensorboard"),
    ]
    if config.training.ema is not None:
        # The average is in the model during validation only; otherwise the model holds the trained weights.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    return callbacks


class _Log(keras.callbacks.Callback):
    """Adds the epoch's number, the learning rate and the seconds so far to the metrics of an epoch."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self._checkpoint = checkpoint

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start = time.monotonic() - self._checkpoint.seconds

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["epoch"] = epoch + 1
            logs["seconds"] = round(time.monotonic() - self._start, 1)
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class _HistoryFile(keras.callbacks.Callback):
    """Writes the history as a CSV file with a line for each epoch."""

    def __init__(self, checkpoint: Checkpoint, path: Path):
        super().__init__()
        self._checkpoint, self._path = checkpoint, path

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self._checkpoint.history:
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._write()

    def _write(self):
        rows = self._checkpoint.history
        names = list(dict.fromkeys(name for row in rows for name in row))
        with files.replacing(self._path) as beside, open(beside, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)


def _columns(history: list[dict]) -> dict[str, list[float]]:
    """Converts a mapping for each epoch to a list for each metric."""
    names = dict.fromkeys(name for row in history for name in row)
    return {name: [row[name] for row in history if name in row] for name in names}
