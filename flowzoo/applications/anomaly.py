"""AnomalyDetector: a flow fitted to normal rows, with thresholds for a chosen false-positive rate."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.covariance import LedoitWolf

from flowzoo.applications.calibration import Calibration
from flowzoo.data.outliers import Bounds, Census
from flowzoo.flow import Flow
from flowzoo.models._factory import create_model
from flowzoo.models._pretrained import from_pretrained
from flowzoo.storage.presets import find_preset
from flowzoo.utils import validation
from flowzoo.utils.frames import frame_columns, frame_rows, is_frame
from flowzoo.utils.sizes import batch_size_for

_LEAST_ROWS = 20
# With fewer rows, or fewer per column, training does more harm than good: the Gaussian stays.
_LEAST_TO_TRAIN, _LEAST_A_COLUMN = 200, 5
# From this many rows on, use the larger networks.
_MANY_ROWS = 10_000
# This many rows are enough for the covariance and for validation.
_SAMPLE, _MOST_VALIDATION = 50_000, 10_000
_EPOCHS, _STEPS_AN_EPOCH, _PATIENCE, _LEARNING_RATE = 80, 64, 8, 1e-3


class AnomalyDetector:
    """Fits a flow to normal rows and scores rows by how unlikely they are.

    The score is ``-log_prob`` in nats of a neural spline flow (Durkan et al. 2019); higher is more anomalous.
    The fit handles tables of any size and kind without tuning:

    * The fit adds a little noise to all rows. So repeated values, whole numbers, two-valued and constant
      columns do not give an infinite density, and the flow does not memorise a small table.
    * The flow starts as a Gaussian with a shrunk covariance (Ledoit and Wolf 2004). Training continues while
      it helps on a tenth of the rows, kept for validation. If it never helps, the Gaussian stays. With fewer
      than 250 rows, or 6.25 rows per column, the flow is not trained.
    * A fifth of the rows is held out from all of this and calibrates the thresholds; see `Calibration` for
      their guarantee.

    Keras draws the flow's first weights: call `keras.utils.set_random_seed` to make a fit repeatable.

    Args:
        noise: Standard deviation of that noise, relative to that of each column.
        held_out: Fraction of the rows held out for calibration.
        seed: Seed of the split and of the noise.

    Raises:
        ValueError: If `noise` is not positive, or `held_out` not between 0 and 1.

    Example:
        >>> import numpy as np
        >>> from flowzoo.applications import AnomalyDetector
        >>> normal = np.random.default_rng(1).normal(size=(150, 1)) * [1, 2] + [5, 10]
        >>> detector = AnomalyDetector().fit(normal)
        >>> detector.predict([[5.0, 10.0], [6.0, 8.0]], false_positives=0.1)
        array([False,  True])
    """

    def __init__(self, *, noise: float = 0.1, held_out: float = 0.2, seed: int = 0):
        if not noise > 0:
            raise ValueError(f"noise must be > 0; got {noise!r}.")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1; got {held_out!r}.")
        self.noise = float(noise)
        self.held_out = float(held_out)
        self.seed = int(seed)
        self._fitted: tuple[Flow, Calibration] | None = None

    @classmethod
    def from_flow(cls, flow: Flow, x: Any) -> AnomalyDetector:
        """A detector for a flow of vectors or images that is already fitted.

        Args:
            flow: An unconditional flow.
            x: ``[N, *event_shape]``, normal rows that the flow was not fitted to. They calibrate the
                thresholds.

        Raises:
            ValueError: On wrong shapes or types, NaN or infinity, or no rows.
        """
        scores = _score(flow, x)
        # Rows that are not finite get the highest score, which would then count as normal.
        validation.check_finite(x, "x")
        detector = cls()
        detector._fitted = flow, Calibration(scores)
        return detector

    def fit(self, x: Any, verbose: int | str = 0) -> AnomalyDetector:
        """Fits a flow to normal rows and calibrates it; returns itself.

        Args:
            x: ``[N, D]``, a table of numbers in any units, with 20 rows or more and 2 columns or more. A data
                frame's columns are remembered: frames are matched by name from then on.
                Anomalies among them count as normal; a few do little harm. Rows with absurd values
                (`flowzoo.data.outliers`) are left out if they are few, with a warning.
            verbose: Verbosity, as in Keras.

        Raises:
            ValueError: On wrong shapes or types, NaN or infinity.
        """
        columns = frame_columns(x) if is_frame(x) else None
        x = _without_absurd(_table(frame_rows(x, None, "x") if is_frame(x) else x))
        # Not `seed` alone, because the rows themselves may have been drawn with it.
        order = np.random.default_rng([self.seed, 0xA70]).permutation(len(x))
        held_out, rows = np.split(x[order], [math.ceil(self.held_out * len(x))])
        if len(rows) < 2:
            raise ValueError(
                f"held_out={self.held_out:g} of {len(x)} rows leaves fewer than 2 to fit; lower held_out."
            )
        flow = _fit_flow(rows, self.noise, self.seed, verbose)
        flow.columns = columns
        self._fitted = flow, Calibration(_score(flow, held_out))
        return self

    @property
    def flow(self) -> Flow:
        """The fitted flow: `export` it to serve ``log_prob``, which is the score with its sign changed."""
        return self._parts()[0]

    @property
    def calibration(self) -> Calibration:
        """Scores of the held-out rows."""
        return self._parts()[1]

    def score(self, x: Any) -> np.ndarray:
        """Anomaly scores of rows.

        Args:
            x: ``[N, D]``; rows may hold NaN or infinity.

        Returns:
            float32 ``[N]``, nats, higher is more anomalous. Rows with NaN or infinity get the highest finite
            float.

        Raises:
            ValueError: On wrong shapes or types, or before `fit`.
        """
        return _score(self.flow, x)

    def threshold(self, false_positives: float = 0.01) -> float:
        """The score that at most this fraction of normal rows exceeds; see `Calibration`.

        Raises:
            ValueError: If too few rows were held out for this rate, or before `fit`.
        """
        return self.calibration.threshold(false_positives)

    def predict(self, x: Any, false_positives: float = 0.01) -> np.ndarray:
        """Flags anomalies: the rows that score above ``threshold(false_positives)``.

        Args:
            x: ``[N, D]``; rows that hold NaN or infinity count as anomalies.
            false_positives: Fraction of normal rows that may be flagged.

        Returns:
            bool ``[N]``.

        Raises:
            ValueError: As `score` and `threshold` do.
        """
        threshold = self.threshold(false_positives)
        return self.score(x) > threshold

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the flow as a preset with its calibration, for `load` and ``flowzoo score``.

        Raises:
            ValueError: If the directory holds anything but a preset, or before `fit`.
        """
        self.flow.save_to_preset(directory, self.calibration.to_metadata())

    @classmethod
    def load(cls, name_or_directory: str | os.PathLike) -> AnomalyDetector:
        """Loads a detector that `save` wrote; takes all that `flowzoo.from_pretrained` takes for a preset.

        Raises:
            ValueError: If there is no such preset, or it has no calibration.
        """
        directory = find_preset(name_or_directory)
        calibration = Calibration.read(directory)
        detector = cls()
        detector._fitted = from_pretrained(directory), calibration
        return detector

    def _parts(self) -> tuple[Flow, Calibration]:
        if self._fitted is None:
            raise ValueError("This detector has no flow yet: call fit, or AnomalyDetector.load(directory).")
        return self._fitted


def _score(flow, x):
    return -flow.score(x)["log_prob"].numpy()


def _table(x):
    """``[N, D]`` float32, checked."""
    shape = np.shape(x)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            f"x must be a table [rows, columns] of two columns or more; got shape {shape}. For one column, "
            "use quantiles. For images, fit a flow and call AnomalyDetector.from_flow(flow, rows)."
        )
    if shape[0] < _LEAST_ROWS:
        raise ValueError(f"x has {shape[0]} rows; at least {_LEAST_ROWS} are needed.")
    x = validation.as_rows(x, shape[1:], "float32", "x").numpy()
    validation.check_finite(x, "x")
    return x


def _without_absurd(x):
    """The rows without those that hold absurd values, if these are few; a warning names them."""
    census = Census(Bounds.of_sample(x))
    within = census.update(x)
    if not census.few:
        return x
    warnings.warn(census.warning(), stacklevel=3)
    return x[within]


def _fit_flow(rows, noise, seed, verbose):
    """Fits a flow to shuffled rows ``[N, D]``: a Gaussian, trained further if there are enough rows."""
    count, columns = rows.shape
    trains = count >= max(_LEAST_TO_TRAIN, _LEAST_A_COLUMN * columns)
    validation, rows = np.split(rows, [min(count // 10, _MOST_VALIDATION) if trains else 0])
    width = _width(rows, noise)
    generator = np.random.default_rng([seed, 0xB10])
    options = _options(count) if trains else {"steps": 0, "linear": "none"}
    flow = create_model("nsf", (columns,), base="full_gaussian", **options)
    _start_as_gaussian(flow, _blurred(rows[:_SAMPLE], width, generator))
    if trains:
        _train(flow, rows, _blurred(validation, width, generator), width, seed, verbose)
    return flow


def _options(count):
    if count < _MANY_ROWS:
        return {"steps": 3, "hidden_units": (64, 64)}
    return {"steps": 5, "hidden_units": (128, 128)}


def _width(rows, noise):
    """Standard deviation of the noise for each column, ``[D]``."""
    varies = rows.max(axis=0) > rows.min(axis=0)
    # A constant column has no scale of its own: use its absolute value, but at least 1.
    spread = np.where(varies, rows.std(axis=0, dtype=np.float64), np.maximum(np.abs(rows[0]), 1.0))
    return noise * spread


def _blurred(rows, width, generator):
    return (rows + width * generator.standard_normal(rows.shape)).astype(np.float32)


def _start_as_gaussian(flow, rows):
    """Standardises, and sets the base to the moments of the latents; new transforms are the identity."""
    flow.adapt(rows)
    shrunk = LedoitWolf().fit(flow.encode(rows).numpy().astype(np.float64))
    flow.base.set_moments(shrunk.location_, shrunk.covariance_)


def _train(flow, rows, validation, width, seed, verbose):
    """Trains while the validation rows get likelier; restores the weights if they never do."""
    start, before = flow.get_weights(), -float(np.mean(flow.log_prob(validation)))
    batch = batch_size_for(len(rows), 32, 512)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, _EPOCHS * _STEPS_AN_EPOCH)
    flow.compile(keras.optimizers.Adam(schedule, global_clipnorm=5.0))
    stop = keras.callbacks.EarlyStopping("val_nll", patience=_PATIENCE, mode="min", restore_best_weights=True)
    history = flow.fit(
        _batches(rows, width, batch, seed),
        steps_per_epoch=_STEPS_AN_EPOCH,
        epochs=_EPOCHS,
        validation_data=(validation,),
        callbacks=[stop],
        verbose=verbose,
    )
    if not min(history.history["val_nll"]) < before:
        flow.set_weights(start)


def _batches(rows, width, batch, seed):
    """Endless batches of rows, drawn with replacement and with new noise; the seed determines them."""
    with tf.device("CPU"):
        rows, width = tf.constant(rows), tf.constant(width, tf.float32)

    def draw(step):
        choice, noise = tf.stack([step, 2 * seed]), tf.stack([step, 2 * seed + 1])
        index = tf.random.stateless_uniform([batch], choice, 0, rows.shape[0], tf.int32)
        chosen = tf.gather(rows, index)
        return chosen + width * tf.random.stateless_normal(chosen.shape, noise)

    steps = tf.data.Dataset.range(_EPOCHS * _STEPS_AN_EPOCH).repeat()
    return steps.map(draw, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
