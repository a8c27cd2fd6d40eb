"""NICE: additive couplings and one diagonal scaling (Dinh, Krueger and Bengio 2015)."""

from __future__ import annotations

from flowzoo import layers
from flowzoo.models._networks import renamed
from flowzoo.models._registry import register_model
from flowzoo.models.realnvp import realnvp


@register_model(
    "nice",
    paper="Dinh, Krueger, Bengio: NICE: Non-linear Independent Components Estimation (2015)",
    url="https://arxiv.org/abs/1410.8516",
    events=("vector", "image"),
    vector_options=("steps", "hidden_units", "residual", "permutation"),
    image_options=("levels", "channels", "blocks"),
    upgrade=lambda options, event: renamed(options, couplings="steps"),
)
def nice(
    event_shape,
    context_shape=None,
    *,
    steps: int = 8,
    hidden_units=(128, 128),
    residual: bool = False,
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
        steps: Vectors: number of couplings (the paper has 4).
        hidden_units: Vectors: widths of each conditioner's hidden layers.
        residual: Vectors: whether conditioners are residual, with an odd number of equal widths: one for the
            first layer and two for each block.
        permutation: Vectors: "alternate" (halves take turns), "reverse" or "random" between couplings.
        levels: Images: number of squeezes.
        channels: Images: width of each conditioner.
        blocks: Images: residual blocks of each conditioner.
        activation: Activation of the conditioners.
        dropout: Dropout rate in the conditioners.
        weight_norm: Whether the conditioners' hidden kernels are normalised; not with `residual`.
        seed: Seed of the random permutations.

    Returns:
        Flow layers, data side first.
    """
    additive = realnvp(
        event_shape,
        context_shape,
        steps=steps,
        hidden_units=hidden_units,
        residual=residual,
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
