"""Conditioners for vectors from the options of architectures: `hidden_units` and `residual`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowzoo import conditioners


def vector_network(
    hidden_units: Sequence[int], residual: bool = False, **network: Any
) -> conditioners.Conditioner:
    """An `MLP`, or a `ResidualMLP` with the same arguments as `MADE`.

    Args:
        hidden_units: Widths of the hidden layers. A residual network takes an odd number of equal widths: the
            first layer, then two for each block.
        residual: Whether blocks of two layers have a skip connection.
        **network: Further arguments: activation, dropout.

    Raises:
        ValueError: If the widths do not make a residual network.
    """
    if not residual:
        return conditioners.MLP(hidden_units, **network)
    conditioners.check_residual_widths(hidden_units)
    if network.pop("weight_norm", False):
        raise ValueError("weight_norm is an option of plain conditioners; leave residual or weight_norm out.")
    return conditioners.ResidualMLP(hidden_units[0], len(hidden_units) // 2, **network)


def renamed(options: dict[str, Any], **names: str) -> dict[str, Any]:
    """Options with old names replaced by new ones: ``renamed(options, couplings="steps")``."""
    return {names.get(key, key): value for key, value in options.items()}


def residual_units(hidden_units: Sequence[int], blocks: int) -> list[int]:
    """`hidden_units` of a residual network with this many blocks, all of the first width."""
    return [int(hidden_units[0])] * (1 + 2 * blocks)
