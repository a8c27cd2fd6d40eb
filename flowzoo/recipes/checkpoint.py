"""Checkpoint: at ends of epochs, all that a training needs to go on from there as if nothing had happened."""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path

import keras
import numpy as np

from flowzoo.flow import Flow
from flowzoo.storage import files
from flowzoo.storage.versions import version_directories

LAST, BEST, STATE = "last.weights.h5", "best.npz", "state.json"


class Checkpoint(keras.callbacks.Callback):
    """Keeps the weights (last, and best on validation), the optimizer, and the history.

    ``directory/<epochs done>/`` is written beside and renamed, and only then the one before is removed: what
    has a number is whole. Must come before callbacks that change the weights at the end of an epoch.

    Args:
        directory: Of the checkpoints.
        monitor: Name of the validation metric that decides which epoch is the best (the lowest), or None.
        patience: Epochs without a better one before training stops; None for never.
        seconds_between: The least time between two; the last epoch's is always written.
    """

    def __init__(
        self, directory: Path, monitor: str | None, patience: int | None, seconds_between: float = 0.0
    ):
        super().__init__()
        self._directory, self._monitor, self._patience = directory, monitor, patience
        self._seconds_between, self._written = seconds_between, time.monotonic()
        self.history: list[dict] = []
        self._best = {"value": math.inf, "epoch": 0}
        # The best epoch's weights, until they are in a file.
        self._best_weights: list[np.ndarray] | None = None

    @property
    def epochs_done(self) -> int:
        """How many epochs lie behind."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Training time so far, that of earlier runs included."""
        return self.history[-1]["seconds"] if self.history else 0.0

    @property
    def is_finished_early(self) -> bool:
        """Whether the patience ran out."""
        waited = self.epochs_done - self._best["epoch"]
        return self._patience is not None and self._monitor is not None and waited >= self._patience

    def restore(self, flow: Flow) -> bool:
        """Loads the newest checkpoint into a compiled flow, if there is one."""
        newest = self._newest()
        if newest is None:
            return False
        state = files.read_json(newest / STATE)
        flow.optimizer.build(flow.trainable_variables)
        flow.load_weights(newest / LAST)
        self.history, self._best = state["history"], state["best"]
        for variable, value in zip(flow.seed_states, state["seeds"], strict=True):
            variable.assign(value)
        return True

    def best_weights(self) -> list[np.ndarray] | None:
        """The best epoch's weights, in the order of `get_weights`, if there was validation."""
        newest = self._newest()
        if newest is None or not (newest / BEST).exists():
            return None
        with np.load(newest / BEST) as arrays:
            return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes a checkpoint if it is time; stops the training if the patience has run out."""
        self.history.append({key: float(value) for key, value in (logs or {}).items()})
        value = self.history[-1].get(self._monitor or "", math.nan)
        if value < self._best["value"]:
            self._best = {"value": value, "epoch": self.epochs_done}
            self._best_weights = self._averaged()
        is_last = self.is_finished_early or epoch + 1 == self.params["epochs"]
        if not is_last and time.monotonic() - self._written < self._seconds_between:
            return
        try:
            self._write()
        except OSError as error:
            raise OSError(
                f"The checkpoint of epoch {epoch + 1} could not be written to {self._directory}: {error}. "
                "The one before is whole: make room and run the same command again; it goes on from there."
            ) from error
        if self.is_finished_early:
            self.model.stop_training = True

    def _write(self):
        old = self._newest()
        with files.replacing_directory(self._directory / str(self.epochs_done)) as beside:
            self.model.save_weights(beside / LAST)
            if self._best_weights is not None:
                np.savez(beside / BEST, *self._best_weights)
            elif old is not None and (old / BEST).exists():
                _link(old / BEST, beside / BEST)
            seeds = [variable.numpy().tolist() for variable in self.model.seed_states]
            files.write_json(beside / STATE, {"history": self.history, "best": self._best, "seeds": seeds})
        self._best_weights, self._written = None, time.monotonic()
        if old is not None:
            shutil.rmtree(old)

    def _averaged(self):
        """The weights as they were validated: the moving average, where the optimizer keeps one."""
        raw = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        averaged = self.model.get_weights()
        self.model.set_weights(raw)
        return averaged

    def _newest(self):
        if not self._directory.is_dir():
            return None
        return next(reversed(version_directories(self._directory)), None)


def _link(source, target):
    """The same file under another name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_room(directory: Path, flow: Flow) -> None:
    """Raises an OSError, before any training, if the run cannot be written.

    Args:
        directory: The run's directory.
        flow: Whose checkpoints go there, the new one beside the old one.
    """
    way_out = "Choose another directory with --out."
    try:
        with files.replacing(directory / ".writable") as beside:
            beside.write_text("")
        (directory / ".writable").unlink()
    except OSError as error:
        raise OSError(f"The run directory {directory} cannot be written to: {error}. {way_out}") from None
    # Weights, two moments, an average, and the best weights: twice.
    needed, free = 2 * 5 * 4 * flow.count_params() + 2**20, shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            f"A run of this flow needs {needed / 2**20:.0f} MiB in {directory}, and {free / 2**20:.0f} MiB "
            f"are free. Make room. {way_out}"
        )
