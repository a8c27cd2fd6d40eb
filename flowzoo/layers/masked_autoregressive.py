"""MaskedAutoregressive: the layer of MAF, IAF and autoregressive neural splines."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo import bijectors
from flowzoo.bijectors import Affine
from flowzoo.bijectors.masked_autoregressive import INVERSES
from flowzoo.conditioners import MADE
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class MaskedAutoregressive(FlowLayer):
    """Affine map of column i by what a MADE says of the columns before it.

    Args:
        conditioner: A `MADE`.
        conditions_on: "data" is MAF's layer (Papamakarios et al. 2017): densities take one pass. "latent" is
            IAF's (Kingma et al. 2016): samples do.
        inverse: How the other direction runs: "incremental" (about one pass as well), "jacobi" or
            "sequential" (D passes); see `flowzoo.bijectors.MaskedAutoregressive`.
        scale_bound: Bound of the log-scale, symmetric, by a tanh.
    """

    def __init__(
        self,
        conditioner: MADE,
        conditions_on: str = "data",
        inverse: str = "incremental",
        scale_bound: float = 3.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if conditions_on not in ("data", "latent"):
            raise ValueError(f"conditions_on must be 'data' or 'latent'; got {conditions_on!r}.")
        if inverse not in INVERSES:
            raise ValueError(f"inverse must be one of {INVERSES}; got {inverse!r}.")
        if not scale_bound > 0:
            raise ValueError(f"scale_bound must be > 0; got {scale_bound}.")
        self.conditioner = conditioner
        self.conditions_on = conditions_on
        self.inverse = inverse
        self.scale_bound = float(scale_bound)

    parameters_per_column = 2

    def create_weights(self, event_shape, context_shape):
        if len(event_shape) != 1:
            raise ValueError(f"{type(self).__name__} takes vectors (D,); got event shape {event_shape}.")
        self.conditioner.build(
            (None, *event_shape),
            output_shape=(None, *event_shape, self.parameters_per_column),
            context_shape=None if context_shape is None else (None, *context_shape),
        )

    def transformer(self, parameters: tf.Tensor, event_shape: tuple) -> bijectors.FusedBijector:
        """The elementwise bijector of columns with parameters ``[..., parameters, columns]``."""
        shift, raw = parameters[..., 0, :], parameters[..., 1, :]
        log_scale = self.scale_bound * tf.tanh(raw / self.scale_bound)
        return Affine(shift, log_scale, event_shape, dtype=self.variable_dtype)

    def bijector(self, context=None, training=False):
        return bijectors.MaskedAutoregressive(
            self.conditioner,
            self.transformer,
            context,
            conditions_on=self.conditions_on,
            inverse=self.inverse,
            dtype=self.variable_dtype,
            name=self.name,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "conditioner": keras.saving.serialize_keras_object(self.conditioner),
            "conditions_on": self.conditions_on,
            "inverse": self.inverse,
            "scale_bound": self.scale_bound,
        }

    @classmethod
    def from_config(cls, config):
        conditioner = keras.saving.deserialize_keras_object(config["conditioner"])
        return cls(**{**config, "conditioner": conditioner})
