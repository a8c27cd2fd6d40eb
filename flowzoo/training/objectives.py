"""Objectives: what a step of training computes, and the metrics it reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from flowzoo.density import Density
from flowzoo.utils.suggestions import did_you_mean


@dataclass(frozen=True)
class Batch:
    """The rows of one step, or a shard of them.

    Attributes:
        x: Raw rows ``[N, *event_shape]``.
        context: ``[N, size]`` or None.
        weight: Weight of each row, ``[N]``; None for equal weights.
        seed: int32 ``[2]`` for fresh noise, another one at each step; None while evaluating.
        training: Whether this is a step of training.
    """

    x: tf.Tensor
    context: tf.Tensor | None = None
    weight: tf.Tensor | None = None
    seed: tf.Tensor | None = None
    training: bool = False

    def without_far_rows(self, density: Density) -> Batch:
        """The batch with weight 0 for rows with absurd values, whose gradient would drown all others."""
        far = density.is_far(self.x)
        weight = tf.ones_like(far, self.x.dtype) if self.weight is None else self.weight
        # Their values are replaced as well: 0 times infinity is NaN.
        entrywise, _ = density.split()
        center = entrywise.forward(tf.zeros_like(self.x[:1]))
        x = tf.where(tf.reshape(far, [-1] + [1] * (self.x.shape.rank - 1)), center, self.x)
        return replace(self, x=x, weight=tf.where(far, tf.zeros_like(weight), weight))

    def mean(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The weighted mean of ``[N]`` values, 0 if all weights are 0, and the total weight."""
        weight = tf.ones_like(values) if self.weight is None else self.weight
        total = tf.reduce_sum(weight)
        return tf.math.divide_no_nan(tf.reduce_sum(values * weight), total), total


class Objective:
    """A loss with its metrics, for ``flow.compile(objective=...)``.

    A subclass writes `metrics` and `__call__`, `get_config` if its constructor takes arguments, and registers
    itself with ``keras.saving.register_keras_serializable`` so that compiled flows can be saved.

    Attributes:
        lower_is_better: Direction of the metrics, for callbacks such as `keras.callbacks.EarlyStopping`.

    Example:
        >>> import flowzoo
        >>> from flowzoo.training import MaximumLikelihood, Objective
        >>> class Tempered(MaximumLikelihood):
        ...     "The likelihood to a power."
        ...
        ...     def __call__(self, density, batch):
        ...         values, weight = super().__call__(density, batch)
        ...         return {**values, "loss": 0.5 * values["loss"]}, weight
        >>> flow = flowzoo.create_model("maf", (2,), steps=1, hidden_units=(8,))
        >>> flow.compile(objective=Tempered())
    """

    lower_is_better = True

    def metrics(self, density: Density) -> tuple[str, ...]:
        """Names of the metrics, without "loss"."""
        raise NotImplementedError

    def __call__(self, density: Density, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Means over the rows of a batch, and the weight of these rows.

        Traced once for each step function; shards of a batch are averaged by their weights.

        Args:
            density: The flow, with its current weights.
            batch: The rows.

        Returns:
            Scalars by name: "loss", which the step descends, and each of `metrics`; the total weight.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Objective:
        """Builds the objective that `get_config` described."""
        return cls(**config)


@keras.saving.register_keras_serializable("flowzoo")
class MaximumLikelihood(Objective):
    """The negative log-likelihood of raw rows: the default objective.

    The metric ``nll`` is in nats per row. The loss is ``nll``, for images ``bits_per_dim``, so that gradients
    have one size for all image sizes.

    Args:
        noise: Standard deviation of Gaussian noise that moves each training row where the transforms see it,
            fresh at every step: 0.05 is a twentieth of a column's own deviation. It smooths the density
            (Rothfuss et al. 2019), which helps with few rows.

    Raises:
        ValueError: If `noise` is negative.
    """

    def __init__(self, noise: float = 0.0):
        if noise < 0:
            raise ValueError(f"noise must be >= 0; got {noise}.")
        self.noise = float(noise)

    def metrics(self, density: Density) -> tuple[str, ...]:
        return ("nll", "bits_per_dim") if density.is_image else ("nll",)

    def __call__(self, density: Density, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        log_density = density.log_density(
            batch.x, batch.context, batch.training, noise_seed=batch.seed, blur=self.noise
        )
        nll, weight = batch.mean(-log_density)
        if not density.is_image:
            return {"loss": nll, "nll": nll}, weight
        bits = nll * density.bits_per_nat_dim
        return {"loss": bits, "nll": nll, "bits_per_dim": bits}, weight

    def get_config(self) -> dict[str, Any]:
        return {"noise": self.noise}


class _Mean(keras.metrics.Mean):
    """Keras's mean, which is NaN instead of 0 without any weight: an epoch of skipped steps has no loss."""

    def result(self):
        return keras.ops.where(self.count > 0, super().result(), math.nan)


class ObjectiveMetrics:
    """Running means of the loss and the metrics of an objective.

    A plain object, so that Keras accepts another one when a flow is compiled again.

    Args:
        objective: Names the metrics.
        density: The density that is trained.
    """

    def __init__(self, objective: Objective, density: Density):
        names = ("loss", *objective.metrics(density))
        self.means = [_Mean(name=name) for name in names]

    def update(self, values: dict[str, tf.Tensor], weight: tf.Tensor) -> None:
        """Adds the values of a batch with this total weight."""
        for mean in self.means:
            mean.update_state(values[mean.name], sample_weight=weight)

    def results(self) -> dict[str, tf.Tensor]:
        """The means by name."""
        return {mean.name: mean.result() for mean in self.means}


_BY_NAME = {"maximum_likelihood": MaximumLikelihood}


def get(objective: str | Objective | dict) -> Objective:
    """An objective by name, from its configuration, or the one that is given.

    Raises:
        ValueError: On an unknown name, or what is not an objective.
    """
    if isinstance(objective, dict):
        objective = keras.saving.deserialize_keras_object(objective)
    if isinstance(objective, str):
        if objective not in _BY_NAME:
            raise ValueError(f"Unknown objective {objective!r}. {did_you_mean(objective, _BY_NAME)}")
        return _BY_NAME[objective]()
    if not isinstance(objective, Objective):
        raise ValueError(
            "objective must be a name or a flowzoo.training.Objective; got "
            f"{type(objective).__name__}. Known names: {', '.join(_BY_NAME)}."
        )
    return objective
