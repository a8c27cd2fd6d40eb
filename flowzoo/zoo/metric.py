"""The number that a preset is known by: a negative log-likelihood in bits/dim of images, else in nats."""

from __future__ import annotations


def metric_of(test: dict) -> tuple[str, str]:
    """Key and unit of the number in what `flowzoo.recipes.evaluation.evaluate` returned."""
    return ("bits_per_dim", "bits/dim") if "bits_per_dim" in test else ("nll", "nats")


def with_error(test: dict) -> str:
    """The number with its standard error and unit, as people read it."""
    key, unit = metric_of(test)
    return f"{test[key]:.4f} ± {test[key + '_se']:.4f} {unit}"
