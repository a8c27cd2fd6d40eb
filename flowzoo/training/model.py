"""DensityModel: Keras's compile, fit and evaluate for a model that is a density."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo.data import arrays
from flowzoo.training import adapt, loops, objectives, recomputation
from flowzoo.training.objectives import MaximumLikelihood, Objective
from flowzoo.training.steps import DensitySteps
from flowzoo.utils.frames import frame_columns, frame_rows, is_frame

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"flowzoo needs the TensorFlow backend of Keras; got {keras.backend.backend()}. Set the environment "
        "variable KERAS_BACKEND=tensorflow before anything imports Keras."
    )

# Arguments of fit that become one pipeline of batches if they are arrays.
_OF_ARRAYS = ("x", "y", "sample_weight", "batch_size")


class DensityModel(DensitySteps):
    """A Keras model that trains a density on raw data, by maximum likelihood or another objective.

    `Flow` derives from it and sets `density` and `adapted`.
    """

    def adapt(
        self, x: Any, context: Any = None, batch_size: int | None = None, max_batches: int | None = None
    ) -> None:
        """Sets what is learned from data without gradients: standardisation, actnorm.

        Reads the data once (twice behind `Dequantize`), whatever their size, and checks every row.

        Args:
            x: Array ``[N, *event_shape]``, `tf.data.Dataset` of batches (or of pairs), or `PyDataset`.
            context: Array ``[N, size]``, if the flow is conditional and x is an array.
            batch_size: Rows per batch, for arrays.
            max_batches: Number of batches to read at most; of an endless dataset, 1000 by default.

        Raises:
            ValueError: On wrong shapes, no rows, NaN or infinity, constant columns, pixels out of range.
        """
        batch_size = batch_size or self._default_batch_size
        x, context = self._from_frames(x, context, learn=True)
        adapt.adapt(self.density, x, context, batch_size=batch_size, max_batches=max_batches)
        self.adapted.assign(1.0)

    def compile(
        self,
        optimizer: Any = "auto",
        *,
        objective: str | Objective | dict = "maximum_likelihood",
        jit_compile: bool | str = "auto",
        steps_per_execution: int | str = "auto",
        memory_efficient: bool = False,
        l2: float = 0.0,
        noise: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Keras's compile; every argument has a default.

        Args:
            optimizer: "auto" is Adam at 1e-3 with the global gradient norm bounded.
            objective: What a step computes: "maximum_likelihood", or an `Objective`. It names the metrics.
            jit_compile: "auto" is `use_xla`; for images on a CPU it compiles only elementwise parts.
            steps_per_execution: Steps between two calls of the callbacks' batch methods. With XLA these steps
                are one compiled loop, so "auto" is up to 32 with XLA and 1 without.
            memory_efficient: Whether to recompute the activations for the gradient, layer by layer from the
                latents, instead of storing them: memory does not grow with depth, but a step takes longer.
            l2: Factor of the sum of squares of the conditioners' kernels, added to the loss but not to `nll`.
            noise: Short for ``objective=MaximumLikelihood(noise)``: see `MaximumLikelihood`.
            seed: Seed of all noise while training; a step's noise is a function of seed and step.
            **kwargs: As in `keras.Model.compile`, without loss and metrics, which the objective defines.

        Raises:
            ValueError: If a loss or metrics are given; if `l2` or `noise` is negative, or there is no
                conditioner for `l2`; if `noise` is given with another objective; on `memory_efficient` for a
                flow with dropout; if the flow was made under a strategy's scope and the optimizer was not.
        """
        if l2 < 0 or noise < 0:
            raise ValueError(f"l2 and noise must be >= 0; got {l2} and {noise}.")
        if l2 and not self.density.penalized_weights():
            raise ValueError("This flow has no conditioner whose kernels l2 could penalize; leave l2 out.")
        for key in ("loss", "metrics", "weighted_metrics"):
            if kwargs.pop(key, None) is not None:
                raise ValueError(f"A flow's loss and metrics are those of its objective; leave {key} out.")
        if noise and objective != "maximum_likelihood":
            raise ValueError(
                "noise is for the default objective; pass objective=MaximumLikelihood(noise=...)."
            )
        objective = MaximumLikelihood(noise) if noise else objectives.get(objective)
        self._l2, self._seed = float(l2), int(seed)
        op_by_op = kwargs.get("run_eagerly", False)
        by_parts = self.is_image and self._strategy is None and not (self.use_xla or op_by_op)
        self._in_programs = jit_compile == "auto" and by_parts
        if jit_compile == "auto":
            jit_compile = self.use_xla and not op_by_op
        self._training_density = None
        if memory_efficient:
            recomputation.check_deterministic(self)
            self._training_density = recomputation.RecomputingDensity(self.density)
        self.memory_efficient = memory_efficient
        self._choose_steps = steps_per_execution == "auto"
        if not self._choose_steps:
            kwargs["steps_per_execution"] = steps_per_execution
        with self._scope():
            self._set_objective(objective)
            if optimizer == "auto":
                optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0 if self.is_image else 5.0)
            super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
            if self._strategy is not None:
                self._check_optimizer()
                # The first step would be too late: it runs in a replica.
                self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict:
        """The arguments that a saved flow is compiled with when it is loaded."""
        if not self.compiled:
            return {}
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {
            "optimizer": optimizer,
            "jit_compile": self.jit_compile,
            "memory_efficient": self.memory_efficient,
            "objective": keras.saving.serialize_keras_object(self._objective),
            "l2": self._l2,
            "seed": self._seed,
        }

    def compile_from_config(self, config: dict) -> None:
        """Compiles a loaded flow as the saved one was."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        with self._scope():
            self.compile(**{**config, "optimizer": optimizer})
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        context: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras's fit: maximum likelihood on raw data; adapts first if that has not been done.

        If a few rows of vectors hold absurd values (`flowzoo.data.outliers`), a warning names them, and they
        have no weight in training and its metrics.

        Args:
            x: Array ``[N, *event_shape]``, or a `tf.data.Dataset` of batches: x, or (x, context).
            context: Array ``[N, size]``, if the flow is conditional and x is an array.
            batch_size: Rows per batch, for arrays; by default 512, or 64 for images.
            epochs: As in Keras.
            **kwargs: As in `keras.Model.fit` (``validation_data``, ``callbacks``, ...).

        Returns:
            Keras's history, with ``nll`` (nats per row) and for images ``bits_per_dim``.

        Raises:
            ValueError: If the data cannot be trained on; raised before the first step.
        """
        x, context = self._from_frames(x, kwargs.pop("y", context), learn=True)
        if "validation_data" in kwargs:
            kwargs["validation_data"] = self._pair_from_frames(kwargs["validation_data"])
        if not self.compiled:
            self.compile()
        check = adapt.check_data if self.adapted.numpy() else adapt.adapt
        has_far_rows = check(
            self.density,
            x,
            context,
            batch_size=batch_size or self._default_batch_size,
            max_batches=_batches_to_check(x, kwargs.get("steps_per_epoch")),
        )
        if bool(has_far_rows) != self._leaves_out_far_rows:
            self._leaves_out_far_rows = bool(has_far_rows)
            self.train_function = self.test_function = None
        self.adapted.assign(1.0)
        if isinstance(x, tf.data.Dataset):
            # A dataset shuffles itself; Keras's default would only cause a warning.
            kwargs.setdefault("shuffle", False)
        batch_size = batch_size or self._batch_size_of(x)
        self._set_steps(batch_size, kwargs.get("steps_per_epoch"), kwargs.get("validation_steps"))
        kwargs["callbacks"] = [self._skipped, *self._directed(kwargs.pop("callbacks", None))]
        context = _context_for_keras(x, context, kwargs)
        for_keras = {"x": x, "y": context, "batch_size": batch_size, "epochs": epochs, **kwargs}
        return super().fit(**_in_batches(for_keras) if batch_size else for_keras)

    def evaluate(
        self, x: Any = None, context: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Keras's evaluate: mean loss, nll (nats) and, for images, bits per dimension."""
        x, context = self._from_frames(x, kwargs.pop("y", context))
        if not self.compiled:
            self.compile()
        batch_size = batch_size or self._batch_size_of(x)
        # Between two epochs of fit, Keras has counted the executions already.
        if not kwargs.get("_use_cached_eval_dataset"):
            self._set_steps(batch_size, kwargs.get("steps"))
        context = _context_for_keras(x, context, kwargs)
        return super().evaluate(x, context, batch_size=batch_size, **kwargs)

    def _from_frames(self, x, context, learn=False):
        """Data frames as arrays, the columns of x matched by name; other data as they are."""
        if is_frame(x):
            columns = self.density.columns
            if columns is None and learn and len(frame_columns(x)) == math.prod(self.density.event_shape):
                columns = tuple(frame_columns(x))
            x = frame_rows(x, columns, "x")
            # Only a frame whose cells are numbers names the columns.
            self.density.columns = columns
        return x, frame_rows(context, None, "context") if is_frame(context) else context

    def _pair_from_frames(self, data):
        if is_frame(data):
            return self._from_frames(data, None)[0]
        if isinstance(data, tuple | list) and len(data) > 1:
            return (*self._from_frames(data[0], data[1]), *data[2:])
        return data

    def _directed(self, callbacks):
        """The callbacks, with the direction of the objective's metrics where they monitor one.

        Keras finds the direction of its own metrics only.
        """
        callbacks = _listed(callbacks)
        names = self._objective.metrics(self.density)
        for callback in callbacks:
            monitored = str(getattr(callback, "monitor", "")).removeprefix("val_")
            if monitored in names and getattr(callback, "mode", None) == "auto":
                callback.mode = "min" if self._objective.lower_is_better else "max"
        return callbacks

    @property
    def _default_batch_size(self):
        return 64 if self.is_image else 512

    def _batch_size_of(self, x):
        """The default for arrays; None for data that yield batches themselves."""
        yields_batches = isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or not hasattr(x, "__len__")
        return None if yields_batches else self._default_batch_size

    def _set_steps(self, batch_size, *counts):
        """Chooses the steps per execution, so that they divide the requested numbers of steps."""
        if self._choose_steps:
            numbers = (batch_size or self._default_batch_size) * math.prod(self.density.event_shape)
            in_a_loop = self._kind_of_loop(DensitySteps.train_step) == "loop"
            most = loops.steps_per_loop(4 * numbers) if in_a_loop else 1
            common = math.gcd(*[count for count in counts if count])
            steps = next(steps for steps in range(most, 0, -1) if common % steps == 0)
            if steps != self.steps_per_execution:
                self.steps_per_execution = steps
                self.train_function = self.test_function = None

    def _scope(self):
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    def _check_optimizer(self):
        if not self._strategy.extended.variable_created_in_scope(self.optimizer.iterations.value):
            raise ValueError(
                "The flow was made under a strategy's scope but its optimizer was not: make the optimizer "
                "under the scope too, or pass its name."
            )


def _batches_to_check(x, steps_per_epoch):
    """The batches of one epoch if data are endless or of unknown length; else all, for later epochs."""
    has_no_end = isinstance(x, tf.data.Dataset) and int(x.cardinality()) < 0
    return steps_per_epoch if has_no_end else None


def _in_batches(for_keras):
    """Arguments of fit with arrays replaced by batches, unless Keras needs arrays for one of them."""
    given = dict(for_keras)
    rows, context, weight, batch_size = (given.pop(name, None) for name in _OF_ARRAYS)
    parts = tuple(part for part in (rows, context, weight) if part is not None)
    shuffle, validation = given.get("shuffle", True), given.get("validation_data")
    of_arrays = given.get("validation_split") or given.get("class_weight") is not None
    if of_arrays or shuffle not in (True, False) or not arrays.are_arrays(*parts):
        return for_keras
    given |= {"x": arrays.batches_of(parts, batch_size, bool(shuffle)), "shuffle": False}
    # Without a number of steps, Keras begins each epoch twice.
    given["steps_per_epoch"] = given.get("steps_per_epoch") or math.ceil(len(rows) / batch_size)
    if isinstance(validation, (tuple, list)) and arrays.are_arrays(*validation):
        size = given.pop("validation_batch_size", None) or batch_size
        given["validation_data"] = arrays.batches_of(tuple(validation), size)
    return given


def _listed(callbacks):
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]


def _context_for_keras(x, context, kwargs):
    """The context, or one without columns: Keras drops the weights of rows without a target."""
    if context is None and kwargs.get("sample_weight") is not None:
        return np.zeros((len(x), 0), np.float32)
    return context
