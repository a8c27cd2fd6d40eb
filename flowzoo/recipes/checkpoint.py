"""Checkpoint: saves all that a training needs to resume, at the ends of epochs."""

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
    """Saves the weights (last, and best on validation), the optimizer and the history.

    A checkpoint is written under a temporary name and renamed to ``directory/<epochs done>/``. Only then is
    the previous one removed, so a numbered directory is always complete. The callback must come before
    callbacks that change the weights at the end of an epoch.

    Args:
        directory: Directory of the checkpoints.
        monitor: Name of the validation metric that decides which epoch is the best (the lowest), or None.
        patience: Epochs without improvement before training stops; None to never stop early.
        seconds_between: Minimum time between two checkpoints. The last epoch's is always written.
    """

    def __init__(
        self, directory: Path, monitor: str | None, patience: int | None, seconds_between: float = 0.0
    ):
        super().__init__()
        self._directory, self._monitor, self._patience = directory, monitor, patience
        self._seconds_between, self._written = seconds_between, time.monotonic()
        self.history: list[dict] = []
        self._best = {"value": math.inf, "epoch": 0}
        # The best epoch's weights, until they are written to a file.
        self._best_weights: list[np.ndarray] | None = None

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Training time so far in seconds, including earlier runs."""
        return self.history[-1]["seconds"] if self.history else 0.0

    @property
    def is_finished_early(self) -> bool:
        """Whether the patience has run out."""
        waited = self.epochs_done - self._best["epoch"]
        return self._patience is not None and self._monitor is not None and waited >= self._patience

    def restore(self, flow: Flow) -> bool:
        """Loads the newest checkpoint into a compiled flow; returns False if there is none."""
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
        """The best epoch's weights, in the order of `get_weights`; None without validation."""
        newest = self._newest()
        if newest is None or not (newest / BEST).exists():
            return None
        with np.load(newest / BEST) as arrays:
            return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes a checkpoint if one is due; stops the training if the patience has run out."""
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
                "The previous one is intact: free disk space and run the same command again to resume."
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
        """The weights that were validated: the moving average, if the optimizer keeps one."""
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
    """Links a file under another name; copies it if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_room(directory: Path, flow: Flow) -> None:
    """Raises an OSError before training if the run cannot be written.

    Args:
        directory: The run's directory.
        flow: The flow to train. Two of its checkpoints must fit at the same time.
    """
    try:
        with files.replacing(directory / ".writable") as beside:
            beside.write_text("")
        (directory / ".writable").unlink()
    except OSError as error:
        raise OSError(
            f"The run directory {directory} cannot be written to: {error}. Choose another with --out."
        ) from None
    # Weights, two moments, an average and the best weights, for the old and the new checkpoint.
    needed, free = 2 * 5 * 4 * flow.count_params() + 2**20, shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            f"A run of this flow needs {needed / 2**20:.0f} MiB in {directory}, but {free / 2**20:.0f} MiB "
            "are free. Free disk space, or choose another directory with --out."
        )
