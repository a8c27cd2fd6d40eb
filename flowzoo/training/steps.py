"""DensitySteps: what one step of `fit` and `evaluate` computes, and which loop runs the steps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from flowzoo.backend import sharding, xla
from flowzoo.density import Density
from flowzoo.training import loops, replicas
from flowzoo.training.objectives import Batch, Objective, ObjectiveMetrics
from flowzoo.training.skipped_steps import SkippedSteps
from flowzoo.utils import validation


class DensitySteps(keras.Model):
    """The steps of `DensityModel`.

    Keras's own graph runs them by default. With XLA on one device a `StepLoop` does, or for convolutions on a
    CPU `PaddedSteps` whose rows the cores share. For a model made under the scope of a `tf.distribute`
    strategy a `ReplicaLoop` takes the steps that a single device would take.

    Attributes:
        density: What is trained; set by the subclass.
        use_xla: Whether fitting and inference are compiled with XLA. By default where that measured
            faster: everywhere but for wide convolutions on a CPU.
        memory_efficient: Whether fitting recomputes activations; see `DensityModel.compile`.
    """

    adapted: Any
    density: Density
    memory_efficient = False
    train_function: Any
    test_function: Any
    steps_per_execution: int

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        # Keras's own training over several workers does not work (keras#20585): hide the strategy from it;
        # `ReplicaLoop` distributes the steps.
        self._strategy: Any = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        self._distribute_strategy = None
        self.use_xla = True
        self._objective: Objective
        self._metrics_of_objective: ObjectiveMetrics
        self._skipped = SkippedSteps()
        self._l2 = 0.0
        self._seed = 0
        self._in_programs = False
        # Whether a few rows with absurd values have no weight; `fit` finds out.
        self._leaves_out_far_rows = False
        self._training_density: Density | None = None

    @property
    def is_image(self) -> bool:
        """Whether rows are images, so that bits per dimension mean something."""
        return self.density.is_image

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over an epoch: the loss and the metrics of the objective."""
        return self._metrics_of_objective.means

    def _set_objective(self, objective: Objective) -> None:
        self._objective = objective
        self._metrics_of_objective = ObjectiveMetrics(objective, self.density)

    @property
    def seed_states(self) -> list[keras.Variable]:
        """The states of dropout's generators, which Keras counts as variables, and does not save."""
        weights = {id(variable) for variable in [*self.weights, *self.metrics_variables]}
        return [variable for variable in self.variables if id(variable) not in weights]

    def make_train_function(self, force: bool = False) -> None:
        """Sets `train_function`: Keras's, a `StepLoop`, `PaddedSteps`, or with a strategy a `ReplicaLoop`."""
        kind = self._kind_of_loop(DensitySteps.train_step)
        if kind == "keras":
            super().make_train_function(force)
        elif force or self.train_function is None:
            if kind == "replicas":
                step = self._replicas_train_step()
                self.train_function = self._replica_loop(DensitySteps.train_step, step)
                replicas.spread_seeds(self._strategy, self.seed_states)
                return
            self.optimizer.build(self.trainable_variables)
            if kind == "loop":
                means = sharding.ShardedMean.for_vectors(
                    self._from_parts(self._gradients), self._most_shards(), self.count_params()
                )
                self.train_function = self._step_loop(lambda *batch: self._descend(*means(*batch)))
            else:
                self.train_function = self._padded_steps(self._gradients, self._descend)

    def make_test_function(self, force: bool = False) -> None:
        """Sets `test_function`, as `make_train_function` does."""
        kind = self._kind_of_loop(DensitySteps.test_step)
        if kind == "keras":
            super().make_test_function(force)
        elif force or self.test_function is None:
            if kind == "replicas":
                self.test_function = self._replica_loop(DensitySteps.test_step, self._replicas_test_step())
            elif kind == "loop":
                # Without shards: XLA runs them no faster where there are no gradients.
                self.test_function = self._step_loop(self._from_parts(self.test_step))
            else:
                self.test_function = self._padded_steps(self._values, self._update_metrics)

    def train_step(self, data: Any) -> dict:
        """One step of gradient descent on a batch; skipped and counted if it is not finite."""
        return self._descend(*self._gradients(data))

    def test_step(self, data: Any) -> dict:
        """The metrics of a batch."""
        return self._update_metrics(*self._values(data))

    def predict_step(self, data: Any) -> tf.Tensor:
        """Log-densities of a batch: of x, of (x, context), or of ((x, context),)."""
        x, context, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, context=context)

    # -- one step --------------------------------------------------------------------------
    def _batch(self, data, training):
        """The checked rows of a step."""
        x, context, weight = keras.utils.unpack_x_y_sample_weight(data)
        density = self.density
        if context is not None and context.shape[-1] == 0 and density.context_shape is None:
            context = None  # from `model._context_for_keras`
        x = validation.as_rows(x, density.event_shape, self.variable_dtype, "x")
        context = validation.as_context(context, density.context_shape, x.shape[0], self.variable_dtype)
        weight = None if weight is None else tf.cast(weight, x.dtype)
        batch = Batch(x, context, weight, self._noise_seed() if training else None, training)
        return batch.without_far_rows(density) if self._leaves_out_far_rows else batch

    def _noise_seed(self):
        """A function of seed and step, so that a resumed run draws the noise of an undisturbed one."""
        return tf.stack([self._seed % 2**31, tf.cast(self.optimizer.iterations.value, tf.int32)])

    def _gradients(self, data):
        """The gradients of a batch's loss, the objective's values, and the weight of the rows."""
        with tf.GradientTape() as tape:
            values, weight = self._values(data, training=True)
            scaled = self.optimizer.scale_loss(values["loss"])
        gradients = tape.gradient(scaled, [variable.value for variable in self.trainable_variables])
        return (gradients, values), weight

    def _values(self, data, training=False):
        """The objective's values for a batch, with penalties in the loss, and the weight of the rows."""
        batch = self._batch(data, training)
        density = self._training_density if training and self._training_density else self.density
        with xla.programs(self._in_programs):
            values, weight = self._objective(density, batch)
        penalties = [tf.cast(penalty, values["loss"].dtype) for penalty in self.losses]
        if self._l2:
            squares = [tf.reduce_sum(tf.square(w.value)) for w in self.density.penalized_weights()]
            penalties.append(self._l2 * tf.add_n(squares))
        return {**values, "loss": tf.add_n([values["loss"], *penalties])}, weight

    def _descend(self, means, weight):
        """The update of a step, unless it is not finite; from what `_gradients` returns."""
        gradients, values = means
        finite = self._may_update(gradients, values)
        self._skipped.count(finite)
        tf.cond(finite, lambda: self._update(gradients, values, weight), lambda: None)
        return self._logs()

    def _may_update(self, gradients, values):
        """Whether loss and gradients are finite; of scaled gradients the optimizer decides, and rescales."""
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return tf.math.is_finite(values["loss"])
        return tf.math.is_finite(tf.linalg.global_norm(gradients) + values["loss"])

    def _update(self, gradients, values, weight):
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._metrics_of_objective.update(values, weight)

    def _update_metrics(self, values, weight):
        self._metrics_of_objective.update(values, weight)
        return self._logs()

    def _logs(self):
        return self._metrics_of_objective.results()

    def _kind_of_loop(self, step):
        """What runs a step: "loop", "padded", "replicas", or "keras" for steps that are not this class's."""
        if self._strategy is not None:
            return "replicas"
        if getattr(type(self), step.__name__) is not step or self.run_eagerly or not self.jit_compile:
            return "keras"
        # A step of convolutions is long enough to be a program of its own, one for each core.
        return "padded" if self.density.convnets() and not xla.on_gpu() else "loop"

    # -- with XLA on one device ------------------------------------------------------------
    def _step_loop(self, step):
        return loops.StepLoop(step, self._logs, self.steps_per_execution)

    def _padded_steps(self, compute, finish):
        means = sharding.ShardedMean.for_images(self._from_parts(compute), self._most_shards())
        finish = tf.function(finish, jit_compile=True, autograph=False)
        return loops.PaddedSteps(lambda *batch: finish(*means(*batch)), self.steps_per_execution)

    def _most_shards(self):
        # Shards cannot share the state of dropout's generator.
        return 1 if self.seed_states else sharding.cores()

    @staticmethod
    def _from_parts(function):
        """A function of a tuple as a function of its entries."""
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
            (gradients, values), weight = replicas.mean_over_rows(strategy, compute, batch)
            finite = self._may_update(*replicas.on_first(strategy, (gradients, values)))
            self._skipped.count(finite)

            def update():
                # No `tf.cond` may stand between `strategy.run` and Keras's update, so it stands around both.
                with replicas.summed_already(self.optimizer):
                    strategy.run(self._update, args=(gradients, values, weight))

            tf.cond(finite, update, lambda: None)
            return replicas.on_first(strategy, strategy.run(self._logs))

        return step

    def _replicas_test_step(self):
        strategy, compute = self._strategy, self._compiled(self._values)

        def step(*batch):
            values, weight = replicas.mean_over_rows(strategy, compute, batch)
            strategy.run(self._metrics_of_objective.update, args=(values, weight))
            return replicas.on_first(strategy, strategy.run(self._logs))

        return step

    def _compiled(self, function):
        """A function of a batch's parts, with XLA if wanted; the collectives around it do not compile."""
        if self.run_eagerly or not self.jit_compile:
            return self._from_parts(function)
        return tf.function(self._from_parts(function), jit_compile=True, autograph=False)
