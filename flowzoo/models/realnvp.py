"""RealNVP: affine couplings; multi-scale for images (Dinh, Sohl-Dickstein and Bengio 2017)."""

from __future__ import annotations

from typing import Any

from flowzoo import conditioners, layers, random
from flowzoo.models._networks import renamed, vector_network
from flowzoo.models._registry import register_model

_PERMUTATIONS = ("alternate", "reverse", "random")


@register_model(
    "realnvp",
    paper="Dinh, Sohl-Dickstein, Bengio: Density estimation using Real NVP (2017)",
    url="https://arxiv.org/abs/1605.08803",
    events=("vector", "image"),
    vector_options=("steps", "hidden_units", "residual", "permutation"),
    image_options=("levels", "channels", "blocks"),
    upgrade=lambda options, event: renamed(options, couplings="steps"),
)
def realnvp(
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
    actnorm: bool = True,
    scale_bound: float = 3.0,
    dropout: float = 0.0,
    weight_norm: bool = False,
    seed: int = 0,
):
    """Affine couplings: halves of a vector take turns; checkerboard and channel masks for images.

    Args:
        event_shape: ``(D,)`` with D >= 2, or ``(H, W, C)`` with H and W divisible by ``2**levels``.
        context_shape: ``(size,)`` or None.
        steps: Vectors: number of couplings.
        hidden_units: Vectors: widths of each conditioner's hidden layers.
        residual: Vectors: whether conditioners are residual, with an odd number of equal widths: one for the
            first layer and two for each block.
        permutation: Vectors: "alternate" (halves take turns), "reverse" or "random" between couplings.
        levels: Images: number of squeezes.
        channels: Images: width of each conditioner.
        blocks: Images: residual blocks of each conditioner.
        activation: Activation of the conditioners.
        actnorm: A per-column (or channel) scale and shift before each coupling, set by `adapt`.
        scale_bound: Bound of each coupling's log-scale.
        dropout: Dropout rate in the conditioners.
        weight_norm: Whether the conditioners' hidden kernels are normalised; not with `residual`.
        seed: Seed of the random permutations.

    Returns:
        Flow layers, data side first.
    """
    network: dict[str, Any] = {"activation": activation, "dropout": dropout}
    if weight_norm:
        network["weight_norm"] = True

    def step(conditioner, mask, swap):
        coupling = layers.AffineCoupling(conditioner, mask, swap, scale_bound)
        return [layers.ActNorm(), coupling] if actnorm else [coupling]

    if len(event_shape) == 3:

        def convnet_step(mask, swap):
            return step(conditioners.ConvNet(channels, blocks, **network), mask, swap)

        return _multiscale(event_shape, levels, convnet_step)
    if permutation not in _PERMUTATIONS:
        raise ValueError(f"permutation must be one of {_PERMUTATIONS}; got {permutation!r}.")
    flow_layers = []
    for i in range(steps):
        alternate = permutation == "alternate"
        network_of_step = vector_network(hidden_units, residual, **network)
        flow_layers += step(network_of_step, "half", alternate and i % 2 == 1)
        if not alternate and i < steps - 1:
            order = "reverse" if permutation == "reverse" else random.permutation(seed + i, event_shape[0])
            flow_layers.append(layers.Permute(order))
    return flow_layers


def _multiscale(event_shape, levels, step):
    """Section 3.6: checkerboard couplings, squeeze, channel couplings, factor out; again."""
    height, width, _ = event_shape
    if levels < 1 or height % 2**levels or width % 2**levels:
        raise ValueError(
            f"realnvp needs height and width divisible by 2**levels = {2**levels}; got {event_shape}. "
            "Use fewer levels, or pad or crop the images."
        )

    def couplings(mask, count):
        return [layer for i in range(count) for layer in step(mask, i % 2 == 1)]

    scales = [[*couplings("checkerboard", 3), layers.Squeeze(), *couplings("half", 3)] for _ in range(levels)]
    # The last scale has four more couplings; a grid of odd size has no checkerboard, so channels take turns.
    even = (height // 2**levels) % 2 == 0 and (width // 2**levels) % 2 == 0
    scales[-1] += couplings("checkerboard" if even else "half", 4)
    return [layers.MultiScale(scales)]
