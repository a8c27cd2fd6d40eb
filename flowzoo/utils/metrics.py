"""The number that a flow is known by, in words: bits per dimension for images, nats per row for vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNITS = {"bits_per_dim": "bits/dim", "nll": "nats"}


def main_metric(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """Name and unit of the number to show: bits per dimension if it is there, else nats.

    Args:
        metrics: Metrics by name: a result of `evaluate`, or a history.

    Example:
        >>> main_metric({"nll": 1.25})
        ('nll', 'nats')
    """
    name = "bits_per_dim" if "bits_per_dim" in metrics else "nll"
    return name, UNITS[name]


def with_error(metrics: Mapping[str, float], name: str | None = None) -> str:
    """A metric with its standard error and unit.

    Args:
        metrics: A result of `flowzoo.recipes.evaluation.evaluate`.
        name: Which metric; the main one by default.

    Example:
        >>> with_error({"nll": 1.25, "nll_se": 0.01})
        '1.2500 ± 0.0100 nats'
    """
    name = main_metric(metrics)[0] if name is None else name
    return f"{metrics[name]:.4f} ± {metrics[name + '_se']:.4f} {UNITS[name]}"


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """A result of `flowzoo.recipes.evaluation.evaluate` in one line.

    Example:
        >>> describe_metrics({"nll": 1.25, "nll_se": 0.01, "rows": 2000})
        '1.2500 ± 0.0100 nats (negative log-likelihood of 2,000 rows)'
    """
    shown = ", ".join(with_error(metrics, name) for name in UNITS if name in metrics)
    return f"{shown} (negative log-likelihood of {metrics['rows']:,} rows)"
