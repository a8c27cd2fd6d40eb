"""NICE: additive couplings and one diagonal scaling (Dinh, Krueger and Bengio 2015)."""

from __future__ import annotations

from flowzoo import layers
from flowzoo.models.realnvp import realnvp
from flowzoo.registry import register_model


@register_model(
    "nice",
    paper="Dinh, Krueger, Bengio: NICE: Non-linear Independent Components Estimation (2015)",
    url="https://arxiv.org/abs/1410.8516",
    events=("vector", "image"),
)
def nice(
    event_shape,
    context_shape=None,
    *,
    couplings: int = 8,
    hidden_units=(128, 128),
    permutation: str = "alternate",
    levels: int = 2,
    channels: int = 64,
    blocks: int = 2,
    activation: str = "relu",
    dropout: float = 0.0,
    weight_norm: bool = False,
    seed: int = 0,
):
    """Additive couplings, which preserve volume, and a diagonal scaling of the latents.

    For images the couplings sit in RealNVP's multi-scale architecture.

    Args:
        event_shape: ``(D,)`` with D >= 2, or ``(H, W, C)`` with H and W divisible by ``2**levels``.
        context_shape: ``(size,)`` or None.
        couplings: Vectors: number of couplings (the paper has 4).
        hidden_units: Vectors: widths of each conditioner's hidden layers.
        permutation: Vectors: "alternate" (halves take turns), "reverse" or "random" between couplings.
        levels: Images: number of squeezes.
        channels: Images: width of each conditioner.
        blocks: Images: residual blocks of each conditioner.
        activation: Of the conditioners.
        dropout: In the conditioners.
        weight_norm: In the conditioners.
        seed: Of the random permutations.

    Returns:
        Flow layers, data side first.
    """
    additive = realnvp(
        event_shape,
        context_shape,
        couplings=couplings,
        hidden_units=hidden_units,
        permutation=permutation,
        levels=levels,
        channels=channels,
        blocks=blocks,
        activation=activation,
        actnorm=False,
        scale_bound=0.0,
        dropout=dropout,
        weight_norm=weight_norm,
        seed=seed,
    )
    # Section 3.3: one factor for each latent; set by `adapt`, then learned.
    return [*additive, layers.ActNorm()]
