"""Permute: a fixed permutation of columns or channels."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from flowzoo import bijectors
from flowzoo.layers.base import FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Permute(FlowLayer):
    """Permutes the last axis.

    Args:
        permutation: "reverse", or a list: ``x[i] = z[permutation[i]]``.
    """

    def __init__(self, permutation: str | Sequence[int] = "reverse", **kwargs):
        super().__init__(**kwargs)
        self.permutation = permutation if isinstance(permutation, str) else [int(i) for i in permutation]
        if isinstance(permutation, str) and permutation != "reverse":
            raise ValueError(f"permutation must be 'reverse' or a list; got {permutation!r}.")

    def bijector(self, context=None, training=False):
        size = self.event_shape[-1]
        order = range(size)[::-1] if isinstance(self.permutation, str) else self.permutation
        return bijectors.Permute(order, self.event_shape, dtype=self.variable_dtype, name=self.name)

    def get_config(self):
        return {**super().get_config(), "permutation": self.permutation}
