"""Progress: shows the metric, the speed and the time left of a training."""

from __future__ import annotations

import time
from types import TracebackType

import keras
import rich.console
import rich.progress

from flowzoo.utils.metrics import main_metric

# Seconds between two updates of the bar.
_EVERY = 0.2


class Progress(keras.callbacks.Callback):
    """Prints a line for each epoch and, on a terminal, a bar below them.

    It is a context manager, so that a stopped training restores the terminal.

    Args:
        batch_size: Rows per step.
        console: Console to print to; standard output by default.
    """

    def __init__(self, batch_size: int, console: rich.console.Console | None = None):
        super().__init__()
        self._batch_size = batch_size
        self._console = console or rich.console.Console(highlight=False, markup=False, soft_wrap=True)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
            refresh_per_second=1 / _EVERY,
            disable=not self._console.is_terminal,
            transient=True,
        )
        # Seconds of the last complete epoch; None during the first.
        self._epoch_seconds: float | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Looks up the metric and its unit."""
        self._metric, self._unit = main_metric({metric.name: metric for metric in self.model.metrics})

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Starts the bar with the first epoch."""
        self._epoch, self._start, self._looked, self._rows_a_second = epoch, time.monotonic(), 0.0, 0.0
        if not self._bar.tasks:
            self._bar.add_task("", total=None, status="compiling")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=self._name)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Updates the bar a few times per second."""
        now = time.monotonic()
        is_last = batch + 1 == self.params["steps"]
        if now - self._looked < _EVERY and not is_last:
            return
        self._looked = now
        self._rows_a_second = (batch + 1) * self._batch_size / (now - self._start)
        steps = self.params["steps"]
        total = None if steps is None else steps * self.params["epochs"]
        done = self._epoch * (steps or 0) + batch + 1
        self._bar.update(
            self._bar.task_ids[0],
            total=total,
            completed=done,
            status=self._status(logs or {}, 0.0 if steps is None else (batch + 1) / steps),
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the epoch's line."""
        self._epoch_seconds = time.monotonic() - self._start
        self._console.print(f"{self._name}: {self._status(logs or {}, 1.0)}")

    @property
    def _name(self):
        return f"epoch {self._epoch + 1}/{self.params['epochs']}"

    def _status(self, logs, part):
        """The metrics, the speed and the time left after the fraction `part` of the epoch."""
        shown = []
        if self._metric in logs:
            shown.append(f"{float(logs[self._metric]):.4f} {self._unit}")
        if f"val_{self._metric}" in logs:
            shown.append(f"validation {float(logs[f'val_{self._metric}']):.4f}")
        shown.append(f"{self._rows_a_second:,.0f} rows/s")
        epochs_left = self.params["epochs"] - self._epoch - part
        seconds = self._epoch_seconds
        if seconds is None and part > 0:
            seconds = (time.monotonic() - self._start) / part
        if seconds is not None and epochs_left > 0:
            shown.append(f"{_clock(epochs_left * seconds)} left")
        return ", ".join(shown)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
