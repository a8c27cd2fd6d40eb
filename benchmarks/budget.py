"""fit_for: trains any flow for a given time, so that architectures can be compared."""

from __future__ import annotations

import math
import time

import keras
import numpy as np

BATCH = 512


def fit_for(
    flow, train: np.ndarray, validation: np.ndarray, seconds: float, learning_rate: float = 1e-3
) -> int:
    """Trains with Adam and a cosine schedule over the seconds; keeps the weights that validate best.

    The clock starts after the first step, which compiles, and includes the validations.

    Returns:
        The number of steps.
    """
    # Repeat the rows so that an epoch, and thus a validation, takes at least a few hundred steps.
    train = np.tile(train, (math.ceil(200 * BATCH / len(train)), 1))
    flow.compile(keras.optimizers.Adam(learning_rate, global_clipnorm=5.0))
    best = keras.callbacks.EarlyStopping("val_nll", patience=10**9, mode="min", restore_best_weights=True)
    budget = _Budget(seconds, learning_rate)
    flow.fit(
        train,
        batch_size=BATCH,
        epochs=10**9,
        validation_data=(validation,),
        callbacks=[budget, best],
        verbose=0,
    )
    return int(flow.optimizer.iterations)


class _Budget(keras.callbacks.Callback):
    def __init__(self, seconds, learning_rate):
        super().__init__()
        self._seconds, self._rate = seconds, learning_rate
        self._start = None

    def on_train_batch_end(self, batch, logs=None):
        if self._start is None:
            self._start = time.monotonic()
        done = min((time.monotonic() - self._start) / self._seconds, 1.0)
        self.model.optimizer.learning_rate = self._rate * 0.5 * (1.0 + math.cos(math.pi * done))
        self.model.stop_training = done >= 1.0
