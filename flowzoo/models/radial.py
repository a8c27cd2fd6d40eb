"""Radial flows: expansions and contractions around centres (Rezende and Mohamed 2015)."""

from __future__ import annotations

from flowzoo import conditioners, layers
from flowzoo.models._registry import register_model


@register_model(
    "radial",
    paper="Rezende, Mohamed: Variational Inference with Normalizing Flows (2015)",
    url="https://arxiv.org/abs/1505.05770",
)
def radial(
    event_shape,
    context_shape=None,
    *,
    steps: int = 16,
    closed: str = "inverse",
    hidden_units=(64,),
    activation: str = "relu",
):
    """Steps that stretch or shrink space around one centre each; both directions are formulas.

    Args:
        event_shape: ``(D,)``.
        context_shape: ``(size,)`` or None.
        steps: Number of radial maps.
        closed: The direction that the paper's formula computes: "inverse" (data to latent) or "forward". The
            two are different families of densities; neither direction is slow.
        hidden_units: With a context: widths of the network that predicts offsets of all parameters.
        activation: Activation of that network.

    Returns:
        Flow layers, data side first.
    """
    conditioner = None if context_shape is None else conditioners.MLP(hidden_units, activation=activation)
    return [layers.Radial(steps, closed, conditioner)]
