"""Planar flows: the tanh ridges of the first normalizing flows (Rezende and Mohamed 2015)."""

from __future__ import annotations

from flowzoo import conditioners, layers
from flowzoo.models._registry import register_model


@register_model(
    "planar",
    paper="Rezende, Mohamed: Variational Inference with Normalizing Flows (2015)",
    url="https://arxiv.org/abs/1505.05770",
)
def planar(
    event_shape,
    context_shape=None,
    *,
    steps: int = 16,
    closed: str = "inverse",
    hidden_units=(64,),
    activation: str = "relu",
):
    """Steps that bend space along one direction each; few parameters, both directions exact.

    A density of data takes one formula per step; a sample solves one scalar equation per step (about a dozen
    tanhs). With ``closed="forward"`` it is the other way round.

    Args:
        event_shape: ``(D,)``.
        context_shape: ``(size,)`` or None.
        steps: Number of planar maps.
        closed: The direction that the formula computes: "inverse" (data to latent, to fit data) or "forward"
            (latent to data, to fit an unnormalised density by reverse KL).
        hidden_units: With a context: widths of the network that predicts offsets of all parameters.
        activation: Activation of that network.

    Returns:
        Flow layers, data side first.
    """
    conditioner = None if context_shape is None else conditioners.MLP(hidden_units, activation=activation)
    return [layers.Planar(steps, closed, conditioner)]
