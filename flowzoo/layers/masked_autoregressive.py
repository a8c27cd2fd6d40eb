"""Autoregressive layers: the affine one of MAF and IAF, and the spline one of NSF (AR)."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo.bijectors import (
    Affine,
    FusedBijector,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    bounded_log_scale,
)
from flowzoo.bijectors.masked_autoregressive import INVERSES
from flowzoo.conditioners import StepwiseConditioner
from flowzoo.layers.conditioned import ConditionedLayer
from flowzoo.layers.spline import check_spline


class AutoregressiveLayer(ConditionedLayer):
    """Maps column i with parameters that a conditioner computes from the columns before it.

    Args:
        conditioner: A `StepwiseConditioner`, for example a `MADE`.
        conditions_on: "data" for MAF (Papamakarios et al. 2017), where densities take one pass, or "latent"
            for IAF (Kingma et al. 2016), where samples do.
        inverse: Method of the other direction: "incremental" (about one pass as well), "jacobi" or
            "sequential" (D passes); see `flowzoo.bijectors.MaskedAutoregressive`.
    """

    def __init__(
        self,
        conditioner: StepwiseConditioner,
        conditions_on: str = "data",
        inverse: str = "incremental",
        **kwargs,
    ):
        super().__init__(conditioner, **kwargs)
        if conditions_on not in ("data", "latent"):
            raise ValueError(f"conditions_on must be 'data' or 'latent'; got {conditions_on!r}.")
        if inverse not in INVERSES:
            raise ValueError(f"inverse must be one of {INVERSES}; got {inverse!r}.")
        self.conditions_on = conditions_on
        self.inverse = inverse

    @property
    def slow_to_undo(self) -> bool:
        """True if the network sees data: samples then sweep over the columns."""
        return self.conditions_on == "data"

    @property
    def parameters_per_column(self) -> int:
        """Number of parameters of the map of one column."""
        raise NotImplementedError

    def transformer(self, parameters: tf.Tensor, event_shape: tuple) -> FusedBijector:
        """The elementwise bijector of columns with parameters ``[..., parameters, columns]``."""
        raise NotImplementedError

    def create_weights(self, event_shape, context_shape):
        if len(event_shape) != 1:
            raise ValueError(f"{type(self).__name__} takes vectors (D,); got event shape {event_shape}.")
        self.conditioner.build(
            (None, *event_shape),
            output_shape=(None, *event_shape, self.parameters_per_column),
            context_shape=None if context_shape is None else (None, *context_shape),
        )

    def bijector(self, context=None, training=False):
        return MaskedAutoregressive(
            self.conditioner,
            self.transformer,
            context,
            conditions_on=self.conditions_on,
            inverse=self.inverse,
            training=training,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "conditions_on": self.conditions_on,
            "inverse": self.inverse,
        }


@keras.saving.register_keras_serializable("flowzoo")
class AffineAutoregressive(AutoregressiveLayer):
    """``x_i = z_i exp(s_i) + t_i``, with s and t computed from the columns before i.

    Args:
        conditioner: A `StepwiseConditioner`, for example a `MADE`.
        conditions_on: "data" (MAF) or "latent" (IAF).
        inverse: "incremental", "jacobi" or "sequential".
        scale_bound: Symmetric bound of s, by a tanh.
    """

    def __init__(
        self,
        conditioner: StepwiseConditioner,
        conditions_on: str = "data",
        inverse: str = "incremental",
        scale_bound: float = 3.0,
        **kwargs,
    ):
        super().__init__(conditioner, conditions_on, inverse, **kwargs)
        if not scale_bound > 0:
            raise ValueError(f"scale_bound must be > 0; got {scale_bound}.")
        self.scale_bound = float(scale_bound)

    @property
    def parameters_per_column(self):
        return 2

    def transformer(self, parameters, event_shape):
        shift, raw = tf.unstack(parameters, axis=-2)
        log_scale = bounded_log_scale(raw, self.scale_bound)
        return Affine(shift, log_scale, event_shape, dtype=self.variable_dtype)

    def get_config(self):
        return {**super().get_config(), "scale_bound": self.scale_bound}


@keras.saving.register_keras_serializable("flowzoo")
class SplineAutoregressive(AutoregressiveLayer):
    """A rational-quadratic spline per column, set by the columns before it (Durkan et al. 2019).

    Args:
        conditioner: A `StepwiseConditioner`, for example a `MADE`.
        conditions_on: "data" (densities take one pass) or "latent" (samples do).
        inverse: "incremental", "jacobi" or "sequential".
        bins: Number of bins of each spline.
        bound: The splines act in ``[-bound, bound]``; outside they are the identity.
    """

    def __init__(
        self,
        conditioner: StepwiseConditioner,
        conditions_on: str = "data",
        inverse: str = "incremental",
        bins: int = 8,
        bound: float = 3.0,
        **kwargs,
    ):
        super().__init__(conditioner, conditions_on, inverse, **kwargs)
        check_spline(bins, bound)
        self.bins = int(bins)
        self.bound = float(bound)

    @property
    def parameters_per_column(self):
        return RationalQuadraticSpline.parameters_size(self.bins)

    def transformer(self, parameters, event_shape):
        return RationalQuadraticSpline(
            parameters, event_shape, bound=self.bound, knots_axis=-2, dtype=self.variable_dtype
        )

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "bound": self.bound}
