"""LikelihoodSteps: what one step of fit and evaluate computes, and what runs many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from flowzoo import checks, loop, parts, replicas, xla
from flowzoo.conditioners import Conditioner, ConvNet
from flowzoo.skipped_steps import SkippedSteps


class LikelihoodSteps(keras.Model):
    """The steps of `LikelihoodModel`.

    Keras's own graph runs them; with XLA on one device a `StepLoop`, or for convolutions on a CPU a
    `FilledSteps` whose rows the cores share; and a `ReplicaLoop` for a model that was made under the scope of
    a `tf.distribute` strategy: it takes the steps that a single device would take.

    Attributes:
        use_xla: Whether fitting and inference are compiled with XLA. By default where that measured
            faster: everywhere but for wide convolutions on a CPU.
        memory_efficient: Whether fitting recomputes activations; see `LikelihoodModel.compile`.
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
        self.use_xla = True
        names = ["loss", "nll", *(["bits_per_dim"] if self.is_image else [])]
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        self._skipped = SkippedSteps()
        self._l2 = self._noise = 0.0
        self._seed = 0
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
        """Keras's, or with XLA a `StepLoop` or a `FilledSteps`, or under a strategy a `ReplicaLoop`."""
        way = self._way_to_run(LikelihoodSteps.train_step)
        if way == "keras":
            super().make_train_function(force)
        elif force or self.train_function is None:
            if way == "replicas":
                step = self._replicas_train_step()
                self.train_function = self._replica_loop(LikelihoodSteps.train_step, step)
                replicas.spread_seeds(self._strategy, self.seed_states)
                return
            self.optimizer.build(self.trainable_variables)
            if way == "loop":
                means = parts.MeanOverParts.of_vectors(
                    self._of_batch(self._gradients), self._most_parts(), self.count_params()
                )
                self.train_function = self._step_loop(lambda *batch: self._descend(*means(*batch)))
            else:
                self.train_function = self._filled_steps(self._gradients, self._descend)

    def make_test_function(self, force: bool = False) -> None:
        """Keras's, or with XLA a `StepLoop` or a `FilledSteps`, or under a strategy a `ReplicaLoop`."""
        way = self._way_to_run(LikelihoodSteps.test_step)
        if way == "keras":
            super().make_test_function(force)
        elif force or self.test_function is None:
            if way == "replicas":
                self.test_function = self._replica_loop(LikelihoodSteps.test_step, self._replicas_test_step())
            elif way == "loop":
                # Whole: what has no gradients XLA runs no faster in parts.
                self.test_function = self._step_loop(self._of_batch(self.test_step))
            else:
                self.test_function = self._filled_steps(self._mean_loss, self._note)

    def train_step(self, data: Any) -> dict:
        """One step of gradient descent on a batch; counted and left out if it is not finite."""
        return self._descend(*self._gradients(data))

    def test_step(self, data: Any) -> dict:
        """The metrics of a batch."""
        return self._note(*self._mean_loss(data))

    def predict_step(self, data: Any) -> tf.Tensor:
        """Log-densities of a batch: of x, of (x, context), or of ((x, context),)."""
        x, context, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, context=context)

    def _unpack(self, data):
        x, context, weight = keras.utils.unpack_x_y_sample_weight(data)
        if context is not None and context.shape[-1] == 0 and self.context_shape is None:
            context = None  # from `likelihood._context_for_keras`
        x = checks.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return x, context, None if weight is None else tf.cast(weight, x.dtype)

    def _noise_seed(self):
        """A function of seed and step, so that a resumed run draws what the whole run would have drawn."""
        return tf.stack([self._seed % 2**31, tf.cast(self.optimizer.iterations.value, tf.int32)])

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
        with xla.programs(self._in_programs):
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

    def _convnets(self):
        """The conditioners that are convolutional."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, ConvNet)]

    def _kernels(self):
        """The kernels of the conditioners."""
        layers = self._flatten_layers(include_self=False)
        found = [layer.penalized for layer in layers if isinstance(layer, Conditioner)]
        return [kernel for kernels in found for kernel in kernels]

    def _descend(self, means, rows):
        """The update of a step, unless it is not finite; from what `_gradients` returns."""
        gradients, loss, nll = means
        finite = _is_finite(gradients, loss)
        self._skipped.count(finite)
        tf.cond(finite, lambda: self._update(gradients, loss, nll, rows), lambda: None)
        return self._logs()

    def _note(self, means, rows):
        """The metrics with those of a batch; from what `_mean_loss` returns."""
        loss, nll = means
        self._track(loss, nll, rows)
        return self._logs()

    def _update(self, gradients, loss, nll, rows):
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._track(loss, nll, rows)

    def _track(self, loss, nll, rows):
        values = [loss, nll, nll * self.bits_per_nat_dim]
        for tracker, value in zip(self._trackers, values, strict=False):
            tracker.update_state(value, sample_weight=rows)

    def _logs(self):
        return {tracker.name: tracker.result() for tracker in self._trackers}

    def _way_to_run(self, step):
        """How a step runs: in a "loop" or "filled", by "replicas", or by "keras" if it is not for us."""
        if self._strategy is not None:
            return "replicas"
        if getattr(type(self), step.__name__) is not step or self.run_eagerly or not self.jit_compile:
            return "keras"
        # A step of convolutions is long enough to be a program of its own, of which each core runs one.
        return "filled" if self._convnets() and not xla.on_gpu() else "loop"

    # -- with XLA on one device ------------------------------------------------------------
    def _step_loop(self, step):
        return loop.StepLoop(step, self._logs, self.steps_per_execution)

    def _filled_steps(self, compute, finish):
        means = parts.MeanOverParts.of_images(self._of_batch(compute), self._most_parts())
        finish = tf.function(finish, jit_compile=True, autograph=False)
        return loop.FilledSteps(lambda *batch: finish(*means(*batch)), self.steps_per_execution)

    def _most_parts(self):
        # The state of a generator, which dropout has, is not for several parts at once.
        return 1 if self.seed_states else parts.cores()

    @staticmethod
    def _of_batch(function):
        """The function of a tuple as one of its parts."""
        return lambda *batch: function(batch)

    # -- on several replicas ---------------------------------------------------------------
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
            return self._of_batch(function)
        return tf.function(self._of_batch(function), jit_compile=True, autograph=False)


def _is_finite(gradients, loss):
    return tf.math.is_finite(tf.linalg.global_norm(gradients) + loss)
