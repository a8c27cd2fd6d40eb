"""AsProgram: an elementwise bijector that can run as one XLA program in a graph that runs op by op."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from flowzoo.backend import xla
from flowzoo.bijectors.base import FusedBijector, Shape


class AsProgram(FusedBijector):
    """``make(parameters)``, where each pass is an XLA program within `flowzoo.backend.xla.programs`.

    Args:
        make: Function from the parameters of some rows to their fused bijector. It must be pure and hashable:
            equal functions share their compiled programs.
        parameters: ``[N, ...]``, one entry per row.
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(
        self,
        make: Callable[[tf.Tensor], FusedBijector],
        parameters: tf.Tensor,
        event_shape: Shape,
        *,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._make = make
        self._given = parameters
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return xla.program(_forward, (self._make,), self._given, z)

    def _inverse_and_log_det(self, x):
        return xla.program(_inverse, (self._make,), self._given, x)


def _forward(make, parameters, z):
    return make(parameters).forward_and_log_det(z)


def _inverse(make, parameters, x):
    return make(parameters).inverse_and_log_det(x)
