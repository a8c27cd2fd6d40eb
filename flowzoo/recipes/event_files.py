"""EventFiles: writes a run's history for TensorBoard, one point for each metric and epoch."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.framework.summary_pb2 import Summary
from tensorflow.core.util.event_pb2 import Event, SessionLog

from flowzoo.recipes.checkpoint import Checkpoint


class EventFiles(keras.callbacks.Callback):
    """Writes ``directory/train`` and ``directory/validation``, two curves of one chart in TensorBoard.

    Keras's own callback needs the package tensorboard, and duplicates or loses points when a run resumes.
    This one starts new files with the whole history. It must come after the checkpoint.

    Args:
        checkpoint: Callback whose history is written.
        directory: Parent directory of the two folders.
    """

    def __init__(self, checkpoint: Checkpoint, directory: Path):
        super().__init__()
        self._checkpoint, self._directory = checkpoint, directory

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Writes the epochs of earlier runs."""
        shutil.rmtree(self._directory, ignore_errors=True)
        # The time axis shows training time, without the pauses.
        self._start = time.time() - self._checkpoint.seconds
        self._writers: dict[str, tf.io.TFRecordWriter] = {}
        for row in self._checkpoint.history:
            self._write(row)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the epoch's metrics."""
        self._write(self._checkpoint.history[-1])

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, row):
        metrics = {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
        checked = {name: value for name, value in metrics.items() if name.startswith("val_")}
        trained = {name: value for name, value in metrics.items() if name not in checked}
        self._append("train", row, trained)
        if checked:
            self._append("validation", row, {k.removeprefix("val_"): v for k, v in checked.items()})

    def _append(self, folder, row, metrics):
        if folder not in self._writers:
            self._writers[folder] = self._opened(self._directory / folder)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        event = Event(wall_time=self._start + row["seconds"], step=int(row["epoch"]))
        event.summary.value.extend(values)
        self._writers[folder].write(event.SerializeToString())
        self._writers[folder].flush()

    def _opened(self, folder):
        folder.mkdir(parents=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        writer = tf.io.TFRecordWriter(str(folder / name))
        version = Event(wall_time=self._start, file_version="brain.Event:2")
        # Makes a running TensorBoard discard what it has read so far.
        start = Event(wall_time=self._start, session_log=SessionLog(status=SessionLog.START))
        for event in (version, start):
            writer.write(event.SerializeToString())
        return writer
