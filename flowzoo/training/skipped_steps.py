"""SkippedSteps: counts training steps that were not applied, and stops after too many in a row."""

from __future__ import annotations

import warnings

import keras
import tensorflow as tf

# This many bad batches in a row are no accident of the data.
_LIMIT = 20


class SkippedSteps(keras.callbacks.Callback):
    """Counts the steps whose loss or gradient was not finite; they leave the weights as they were.

    Raises a FloatingPointError after 20 in a row, with the last good weights in place. Warns at the end of
    each epoch with skipped steps, and adds ``skipped_steps`` to its history.
    """

    def __init__(self):
        super().__init__()
        self._in_a_row = tf.Variable(0, trainable=False)
        self._all = tf.Variable(0, trainable=False)
        self._before = 0

    def count(self, applied: tf.Tensor) -> None:
        """Notes, in the graph of a step, whether it was applied."""
        skipped = tf.cast(tf.logical_not(applied), tf.int32)
        self._in_a_row.assign((self._in_a_row + 1) * skipped)
        self._all.assign_add(skipped)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restarts the count."""
        self._in_a_row.assign(0)
        self._before = int(self._all.numpy())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops training after 20 skipped steps in a row."""
        in_a_row = int(self._in_a_row.numpy())
        if in_a_row >= _LIMIT:
            raise FloatingPointError(
                f"The loss or its gradient was NaN or infinite in {in_a_row} steps in a row, until step "
                f"{batch + 1}. None of them was applied: the flow keeps its last good weights. Try a lower "
                "learning rate (compile(keras.optimizers.Adam(1e-4, global_clipnorm=1.0))), a smaller "
                "scale_bound if the architecture has one, or look for extreme values in the data."
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Reports the epoch's skipped steps."""
        skipped, self._before = int(self._all.numpy()) - self._before, int(self._all.numpy())
        if logs is not None and skipped:
            logs["skipped_steps"] = skipped
            warnings.warn(
                f"{skipped} steps of epoch {epoch + 1} had a loss or gradient that was not finite, and were "
                "not applied.",
                stacklevel=1,  # The command line shows flowzoo's warnings, but not Keras's.
            )
