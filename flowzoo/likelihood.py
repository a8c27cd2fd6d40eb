"""LikelihoodModel: Keras's compile, fit and evaluate for a model that is a density."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo import adapt, checks, loop, replicas, reversible, xla
from flowzoo.conditioners import Conditioner
from flowzoo.skipped_steps import SkippedSteps

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"flowzoo needs Keras on TensorFlow, and Keras runs on {keras.backend.backend()} here. Set the "
        "environment variable KERAS_BACKEND=tensorflow before anything imports Keras."
    )


class LikelihoodModel(keras.Model):
    """A Keras model trained by maximum likelihood on raw data.

    `Flow` derives from it and brings `adapted` and `log_density`. The loss is the negative log-likelihood:
    in nats for vectors, in bits per dimension for images, so that gradients have one size for all image
    sizes.

    Made under the scope of a `tf.distribute` strategy, it shares each batch of `fit` and `evaluate` between
    its replicas, and takes the steps that a single device would take.

    Attributes:
        use_xla: Whether fitting and inference are compiled with XLA. By default where that measured
            faster: everywhere but on images on a CPU.
        memory_efficient: Whether fitting recomputes activations; see `compile`.
    """

    adapted: Any
    memory_efficient = False
    train_function: Any
    test_function: Any
    steps_per_execution: int

    def __init__(self, event_shape: Sequence[int], context_shape: Sequence[int] | None, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        # Keras's own training over several workers does not work (keras#20585): it is to think that there is
        # one device, and `ReplicaLoop` shares what it does.
        self._strategy: Any = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        self._distribute_strategy = None
        self.event_shape = tuple(int(size) for size in event_shape)
        self.context_shape = None if context_shape is None else tuple(int(s) for s in context_shape)
        self.use_xla = not self.is_image or bool(tf.config.list_physical_devices("GPU"))
        names = ["loss", "nll", *(["bits_per_dim"] if self.is_image else [])]
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        self._skipped = SkippedSteps()
        self._l2 = self._noise = 0.0
        self._in_programs = False

    @property
    def is_image(self) -> bool:
        """Whether rows are images, so that bits per dimension mean something."""
        return len(self.event_shape) == 3

    @property
    def bits_per_nat_dim(self) -> float:
        """``1 / (D ln 2)``: from nats a row to bits per dimension."""
        return 1.0 / (math.prod(self.event_shape) * math.log(2.0))

    def log_density(self, x: Any, context: Any = None, training: bool = False, noise_seed: Any = None) -> Any:
        """Log-density ``[N]`` of tensors ``[N, *event_shape]``."""
        raise NotImplementedError

    def adapt(
        self, x: Any, context: Any = None, batch_size: int | None = None, max_batches: int | None = None
    ) -> None:
        """Sets what is learned from data without gradients: standardisation, actnorm.

        Reads the data once (twice behind `Dequantize`), whatever their size, and checks every row.

        Args:
            x: Array ``[N, *event_shape]``, `tf.data.Dataset` of batches (or of pairs), or `PyDataset`.
            context: Array ``[N, size]``, for a conditional flow and arrays.
            batch_size: For arrays.
            max_batches: Read no further; an endless dataset is read for 1000 batches.

        Raises:
            ValueError: On wrong shapes, no rows, NaN or infinity, constant columns, pixels out of range.
        """
        batch_size = batch_size or self._default_batch_size
        adapt.adapt(self, x, context, batch_size=batch_size, max_batches=max_batches)

    def compile(
        self,
        optimizer: Any = "auto",
        *,
        jit_compile: bool | str = "auto",
        steps_per_execution: int | str = "auto",
        memory_efficient: bool = False,
        l2: float = 0.0,
        noise: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Keras's compile; every argument has a default.

        Args:
            optimizer: "auto" is Adam at 1e-3 with the global gradient norm bounded.
            jit_compile: "auto" is `use_xla`; of images on a CPU it compiles elementwise parts alone.
            steps_per_execution: Steps between two calls of the callbacks' batch methods. With XLA these steps
                are one compiled loop, so "auto" takes up to 32 there, and 1 without.
            memory_efficient: Compute the activations again for the gradient, layer by layer from the
                latents, in place of keeping them: memory does not grow with depth, a step takes longer.
            l2: Factor of the squares of the conditioners' kernels that are added to the loss (not to nll).
            noise: Standard deviation of the Gaussian noise that moves each row while training, anew at each
                step, where the transforms see it: 0.05 is a twentieth of a column's own deviation. It
                smooths the density (Rothfuss et al. 2019), which helps where rows are few.
            **kwargs: As in `keras.Model.compile`, without loss and metrics: these are the negative
                log-likelihood, in nats and for images in bits per dimension.

        Raises:
            ValueError: If a loss or metrics are given; `l2` or `noise` is negative, or there is no
                conditioner for `l2`; `memory_efficient` for a flow with dropout; if the flow was made under a
                strategy's scope and the optimizer was not.
        """
        if l2 < 0 or noise < 0:
            raise ValueError(f"l2 and noise must be >= 0; got {l2} and {noise}.")
        if l2 and not self._kernels():
            raise ValueError("This flow has no conditioner whose kernels l2 could hold down; leave l2 out.")
        self._l2, self._noise = float(l2), float(noise)
        for key in ("loss", "metrics", "weighted_metrics"):
            if kwargs.pop(key, None) is not None:
                raise ValueError(f"A flow's loss and metric is its negative log-likelihood; leave {key} out.")
        op_by_op = kwargs.get("run_eagerly", False)
        self._in_programs = jit_compile == "auto" and self.is_image and not (self.use_xla or op_by_op)
        if jit_compile == "auto":
            jit_compile = self.use_xla and not op_by_op
        if memory_efficient:
            reversible.check_nothing_is_random(self)
        self.memory_efficient = memory_efficient
        self._choose_steps = steps_per_execution == "auto"
        if not self._choose_steps:
            kwargs["steps_per_execution"] = steps_per_execution
        with self._scope():
            if optimizer == "auto":
                optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0 if self.is_image else 5.0)
            super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
            if self._strategy is not None:
                self._check_optimizer()
                # The first step is too late: it runs in a replica.
                self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict:
        """What a saved flow is compiled with again when it is loaded."""
        if not self.compiled:
            return {}
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {
            "optimizer": optimizer,
            "jit_compile": self.jit_compile,
            "memory_efficient": self.memory_efficient,
            "l2": self._l2,
            "noise": self._noise,
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

        Args:
            x: Array ``[N, *event_shape]``, or a `tf.data.Dataset` of batches: x, or (x, context).
            context: Array ``[N, size]``, for a conditional flow and arrays.
            batch_size: For arrays; 512 rows, or 64 images, by default.
            epochs: As in Keras.
            **kwargs: As in `keras.Model.fit` (``validation_data``, ``callbacks``, ...).

        Returns:
            Keras's history, with ``nll`` (nats a row) and for images ``bits_per_dim``.

        Raises:
            ValueError: Before the first step, if the data cannot be trained on.
        """
        context = kwargs.pop("y", context)
        if not self.compiled:
            self.compile()
        check = adapt.check_data if self.adapted.numpy() else adapt.adapt
        check(
            self,
            x,
            context,
            batch_size=batch_size or self._default_batch_size,
            max_batches=kwargs.get("steps_per_epoch"),
        )
        if isinstance(x, tf.data.Dataset):
            # A dataset shuffles itself; Keras's default only makes it warn.
            kwargs.setdefault("shuffle", False)
        batch_size = batch_size or self._batch_size_of(x)
        self._set_steps(batch_size)
        context = _context_for_keras(x, context, kwargs)
        callbacks = [self._skipped, *_listed(kwargs.pop("callbacks", None))]
        return super().fit(x, context, batch_size=batch_size, epochs=epochs, callbacks=callbacks, **kwargs)

    def evaluate(
        self, x: Any = None, context: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Keras's evaluate: mean loss, nll (nats) and, for images, bits per dimension."""
        context = kwargs.pop("y", context)
        if not self.compiled:
            self.compile()
        batch_size = batch_size or self._batch_size_of(x)
        # Between two epochs of fit, Keras has counted the executions already.
        if not kwargs.get("_use_cached_eval_dataset"):
            self._set_steps(batch_size)
        context = _context_for_keras(x, context, kwargs)
        return super().evaluate(x, context, batch_size=batch_size, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over an epoch: loss, nll (nats) and, for images, bits per dimension."""
        return self._trackers

    @property
    def seed_states(self) -> list[keras.Variable]:
        """The states of dropout's generators, which Keras counts as variables, and does not save."""
        weights = {id(variable) for variable in [*self.weights, *self.metrics_variables]}
        return [variable for variable in self.variables if id(variable) not in weights]

    def make_train_function(self, force: bool = False) -> None:
        """Keras's, or with XLA on one device a `StepLoop`, or under a strategy a `ReplicaLoop`."""
        if self._strategy is not None:
            if force or self.train_function is None:
                step = self._replicas_train_step()
                self.train_function = self._replica_loop(LikelihoodModel.train_step, step)
                replicas.spread_seeds(self._strategy, self.seed_states)
        elif not self._loops(LikelihoodModel.train_step):
            super().make_train_function(force)
        elif force or self.train_function is None:
            self.optimizer.build(self.trainable_variables)
            self.train_function = self._step_loop(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        """Keras's, or with XLA on one device a `StepLoop`, or under a strategy a `ReplicaLoop`."""
        if self._strategy is not None:
            if force or self.test_function is None:
                self.test_function = self._replica_loop(LikelihoodModel.test_step, self._replicas_test_step())
        elif not self._loops(LikelihoodModel.test_step):
            super().make_test_function(force)
        elif force or self.test_function is None:
            self.test_function = self._step_loop(self.test_step)

    def train_step(self, data: Any) -> dict:
        """One step of gradient descent on a batch; counted and left out if it is not finite."""
        with xla.programs(self._in_programs):
            (gradients, loss, nll), rows = self._gradients(data)
        finite = _is_finite(gradients, loss)
        self._skipped.count(finite)
        tf.cond(finite, lambda: self._update(gradients, loss, nll, rows), lambda: None)
        return self._logs()

    def test_step(self, data: Any) -> dict:
        """The metrics of a batch."""
        with xla.programs(self._in_programs):
            (loss, nll), rows = self._mean_loss(data)
        self._track(loss, nll, rows)
        return self._logs()

    def predict_step(self, data: Any) -> tf.Tensor:
        """Log-densities of a batch: of x, of (x, context), or of ((x, context),)."""
        x, context, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, context=context)

    @property
    def _default_batch_size(self):
        return 64 if self.is_image else 512

    def _batch_size_of(self, x):
        """The default for arrays; None for what yields batches itself."""
        yields_batches = isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or not hasattr(x, "__len__")
        return None if yields_batches else self._default_batch_size

    def _unpack(self, data):
        x, context, weight = keras.utils.unpack_x_y_sample_weight(data)
        if context is not None and context.shape[-1] == 0 and self.context_shape is None:
            context = None  # from `_context_for_keras`
        x = checks.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return x, context, None if weight is None else tf.cast(weight, x.dtype)

    def _noise_seed(self):
        """A function of the step, so that a resumed run draws what the whole run would have drawn."""
        return tf.stack([0, tf.cast(self.optimizer.iterations.value, tf.int32)])

    def _gradients(self, data):
        """The gradients of a batch's loss, the loss and the mean nll; and the weight of its rows."""
        with tf.GradientTape() as tape:
            (loss, nll), rows = self._mean_loss(data, training=True, noise_seed=self._noise_seed())
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in self.trainable_variables])
        return (gradients, loss, nll), rows

    def _mean_loss(self, data, **options):
        """The loss and the mean nll of a batch; and the weight of its rows."""
        x, context, weight = self._unpack(data)
        nll = -self.log_density(x, context, **options)
        weight = tf.ones_like(nll) if weight is None else weight
        rows = tf.reduce_sum(weight)
        mean = tf.math.divide_no_nan(tf.reduce_sum(nll * weight), rows)
        loss = mean * self.bits_per_nat_dim if self.is_image else mean
        penalties = [tf.cast(penalty, loss.dtype) for penalty in self.losses]
        if self._l2:
            squares = [tf.reduce_sum(tf.square(kernel.value)) for kernel in self._kernels()]
            penalties.append(self._l2 * tf.add_n(squares))
        return (tf.add_n([loss, *penalties]), mean), rows

    def _kernels(self):
        """The kernels of the conditioners."""
        layers = self._flatten_layers(include_self=False)
        found = [layer.penalized for layer in layers if isinstance(layer, Conditioner)]
        return [kernel for kernels in found for kernel in kernels]

    def _update(self, gradients, loss, nll, rows):
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._track(loss, nll, rows)

    def _track(self, loss, nll, rows):
        values = [loss, nll, nll * self.bits_per_nat_dim]
        for tracker, value in zip(self._trackers, values, strict=False):
            tracker.update_state(value, sample_weight=rows)

    def _logs(self):
        return {tracker.name: tracker.result() for tracker in self._trackers}

    # -- steps in one program --------------------------------------------------------------
    def _loops(self, step):
        """Whether the step runs in a `StepLoop`: with XLA, on one device, unless a subclass changed it."""
        unchanged = getattr(type(self), step.__name__) is step
        return bool(self.jit_compile) and not self.run_eagerly and self._strategy is None and unchanged

    def _step_loop(self, step):
        return loop.StepLoop(lambda *batch: step(batch), self._logs, self.steps_per_execution)

    def _set_steps(self, batch_size):
        if self._choose_steps:
            numbers = (batch_size or self._default_batch_size) * math.prod(self.event_shape)
            steps = loop.steps_in_a_loop(4 * numbers) if self._loops(LikelihoodModel.train_step) else 1
            if steps != self.steps_per_execution:
                self.steps_per_execution = steps
                self.train_function = self.test_function = None

    # -- on several replicas ---------------------------------------------------------------
    def _scope(self):
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    def _check_optimizer(self):
        if not self._strategy.extended.variable_created_in_scope(self.optimizer.iterations.value):
            raise ValueError(
                "The flow was made under a strategy's scope and its optimizer was not: make it there too, or "
                "give its name."
            )

    def _replica_loop(self, step, on_replicas):
        if getattr(type(self), step.__name__) is not step:
            raise ValueError(
                f"{type(self).__name__} has its own {step.__name__}, which replicas cannot share: make the "
                "flow outside of strategy.scope()."
            )
        return replicas.ReplicaLoop(
            self._strategy, on_replicas, self.weights, self.steps_per_execution, self.run_eagerly
        )

    def _replicas_train_step(self):
        """`train_step` on all replicas: the gradients of the global batch, and the same update on each."""
        strategy, compute = self._strategy, self._compiled(self._gradients)

        def step(*batch):
            (gradients, loss, nll), rows = replicas.mean_over_rows(strategy, compute, batch)
            finite = _is_finite(*replicas.on_first(strategy, (gradients, loss)))
            self._skipped.count(finite)

            def update():
                # No `tf.cond` may stand between `strategy.run` and Keras's update, so it stands around both.
                with replicas.summed_already(self.optimizer):
                    strategy.run(self._update, args=(gradients, loss, nll, rows))

            tf.cond(finite, update, lambda: None)
            return replicas.on_first(strategy, strategy.run(self._logs))

        return step

    def _replicas_test_step(self):
        strategy, compute = self._strategy, self._compiled(self._mean_loss)

        def step(*batch):
            (loss, nll), rows = replicas.mean_over_rows(strategy, compute, batch)
            strategy.run(self._track, args=(loss, nll, rows))
            return replicas.on_first(strategy, strategy.run(self._logs))

        return step

    def _compiled(self, function):
        """The function of a batch's parts, with XLA if wanted: collectives do not compile, this does."""
        if self.run_eagerly or not self.jit_compile:
            return lambda *batch: function(batch)
        return tf.function(lambda *batch: function(batch), jit_compile=True, autograph=False)


def _is_finite(gradients, loss):
    return tf.math.is_finite(tf.linalg.global_norm(gradients) + loss)


def _listed(callbacks):
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]


def _context_for_keras(x, context, kwargs):
    """The context, or one without columns: Keras drops the weights of rows that come without a target."""
    if context is None and kwargs.get("sample_weight") is not None:
        return np.zeros((len(x), 0), np.float32)
    return context
