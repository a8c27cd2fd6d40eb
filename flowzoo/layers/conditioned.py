"""ConditionedLayer: a flow layer with a conditioner, which its configuration includes."""

from __future__ import annotations

from typing import Any

import keras

from flowzoo.conditioners import Conditioner
from flowzoo.layers.base import FlowLayer


class ConditionedLayer(FlowLayer):
    """A flow layer whose parameters a conditioner predicts.

    Args:
        conditioner: The network; None only where a subclass allows it.
    """

    def __init__(self, conditioner: Any = None, **kwargs):
        super().__init__(**kwargs)
        self.conditioner: Conditioner = conditioner

    def get_config(self):
        conditioner = self.conditioner
        serialized = None if conditioner is None else keras.saving.serialize_keras_object(conditioner)
        return {**super().get_config(), "conditioner": serialized}

    @classmethod
    def from_config(cls, config):
        conditioner = keras.saving.deserialize_keras_object(config["conditioner"])
        return cls(**{**config, "conditioner": conditioner})
