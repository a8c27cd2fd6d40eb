"""Coupling: one part of the event sets the map of the other part (Dinh et al. 2017, equations 7 and 8)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape
from flowzoo.bijectors.splits import CheckerboardSplit, HalfSplit


class Coupling(FusedBijector):
    """Leaves the identity part unchanged, and maps the other part with parameters that depend on it.

    ``x_a = z_a`` and ``x_b = f(z_b; x_a)``; the log-det is that of f.

    Args:
        split: Splits an event into (identity, transformed) parts and merges them again.
        transformer: Function from the identity part to the fused bijector of the transformed part; called
            once per pass.
        event_shape: Event shape of both sides.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Affine, Coupling, HalfSplit
        >>> shift_by_first = lambda first: Affine(first, None, (1,))
        >>> coupling = Coupling(HalfSplit(2), shift_by_first, (2,))
        >>> coupling.forward([[3.0, 10.0]]).numpy().tolist()
        [[3.0, 13.0]]
    """

    def __init__(
        self,
        split: HalfSplit | CheckerboardSplit,
        transformer: Callable[[tf.Tensor], FusedBijector],
        event_shape: Shape,
        *,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._split = split
        self._transformer = transformer
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        identity, rest = self._split.split(z)
        rest, log_det = self._transformer(identity).forward_and_log_det(rest)
        return self._split.merge(identity, rest), log_det

    def _inverse_and_log_det(self, x):
        identity, rest = self._split.split(x)
        rest, log_det = self._transformer(identity).inverse_and_log_det(rest)
        return self._split.merge(identity, rest), log_det
