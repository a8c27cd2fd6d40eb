"""Glow: actnorm, learned 1x1 convolutions and couplings (Kingma and Dhariwal 2018)."""

from __future__ import annotations

from typing import Any

from flowzoo import conditioners, layers
from flowzoo.models._networks import residual_units, vector_network
from flowzoo.models._registry import register_model

_COUPLINGS = ("affine", "additive", "spline")


def _upgrade(options, event):
    """Until 0.1 `blocks` was the number of residual blocks on vectors too, of the first width."""
    if event == "vector" and "blocks" in options:
        blocks = options.pop("blocks")
        if options.get("residual"):
            options["hidden_units"] = residual_units(options.get("hidden_units", (128, 128)), blocks)
    return options


@register_model(
    "glow",
    paper="Kingma, Dhariwal: Glow: Generative Flow with Invertible 1x1 Convolutions (2018)",
    url="https://arxiv.org/abs/1807.03039",
    events=("image", "vector"),
    vector_options=("hidden_units",),
    image_options=("levels", "channels", "blocks"),
    upgrade=_upgrade,
)
def glow(
    event_shape,
    context_shape=None,
    *,
    steps: int = 8,
    levels: int = 2,
    coupling: str = "affine",
    channels: int = 64,
    hidden_units=(128, 128),
    residual: bool = False,
    blocks: int = 1,
    activation: str = "relu",
    scale_bound: float = 2.0,
    bins: int = 8,
    bound: float = 3.0,
    dropout: float = 0.0,
    seed: int = 0,
):
    """Learned linear maps between couplings; on images in levels, each with a learned prior.

    A context reaches every coupling and every prior. For a class-conditional flow it is the label as a
    one-hot vector: ``context_shape=(classes,)``.

    Args:
        event_shape: ``(H, W, C)`` with H and W divisible by ``2**levels``, or ``(D,)`` with D >= 2.
        context_shape: ``(size,)`` or None.
        steps: Steps of actnorm, linear map and coupling: in each level, or on a vector.
        levels: Images: number of squeezes; half of the channels is factored out between two of them.
        coupling: "affine", "additive" (volume preserving) or "spline" (rational-quadratic, as in the
            neural spline flows of Durkan et al. 2019).
        channels: Images: width of each conditioner (512 in the paper).
        hidden_units: Vectors: widths of each conditioner's hidden layers.
        residual: Whether conditioners are residual: blocks of 3x3 and 1x1 convolutions for images; for
            vectors an odd number of equal widths, one for the first layer and two for each block.
        blocks: Images: blocks of each conditioner. One plain block gives the paper's network.
        activation: Activation of the conditioners.
        scale_bound: Bound of the log-scales of affine couplings and priors. Every step mixes all columns, so
            an outlier can grow in each step: on heavy-tailed data, ten steps with bound 3 overflowed in the
            first updates; with bound 2 they did not, and fitted as well.
        bins: Number of bins of the splines.
        bound: The splines act in ``[-bound, bound]``; outside they are the identity.
        dropout: Dropout rate in the conditioners.
        seed: Seed of the initial random rotations of the linear maps.

    Returns:
        Flow layers, data side first.

    Raises:
        ValueError: On an unknown coupling, widths that do not make a residual network, or a height or width
            that is not divisible.
    """
    if coupling not in _COUPLINGS:
        raise ValueError(f"coupling must be one of {_COUPLINGS}; got {coupling!r}.")
    if not scale_bound > 0:
        raise ValueError(f"scale_bound must be > 0; got {scale_bound}. For NICE, use coupling='additive'.")
    is_image = len(event_shape) == 3
    network: dict[str, Any] = {"activation": activation, "dropout": dropout}

    def conditioner():
        if is_image:
            return conditioners.ConvNet(channels, blocks, residual=residual, **network)
        return vector_network(hidden_units, residual, **network)

    def coupling_layer():
        if coupling == "spline":
            # Only on vectors does the conditioning half get its own splines, as in NSF.
            return layers.SplineCoupling(conditioner(), bins=bins, bound=bound, identity_spline=not is_image)
        return layers.AffineCoupling(conditioner(), scale_bound=scale_bound if coupling == "affine" else 0.0)

    def level(index):
        flow_layers = []
        for i in range(steps):
            rotation = layers.LULinear("rotation", use_bias=False, seed=seed + index * steps + i)
            flow_layers += [layers.ActNorm(), rotation, coupling_layer()]
        return flow_layers

    if not is_image:
        return [*level(0), layers.LearnedPrior(scale_bound)]
    _check_size(event_shape, levels)
    scales = [[layers.Squeeze(), *level(index)] for index in range(levels)]
    for scale in scales[:-1]:
        # The half that is factored out is normal given the half that goes on: an affine coupling, whose
        # latents are standard normal. So one temperature scales the noise of all levels.
        prior = conditioners.ConvNet(channels, 0, activation)
        scale.append(layers.AffineCoupling(prior, scale_bound=scale_bound))
    scales[-1].append(layers.LearnedPrior(scale_bound))
    return [layers.MultiScale(scales)]


def _check_size(event_shape, levels):
    """Section 3.6 of Dinh et al. 2017: each level halves height and width."""
    if levels < 1:
        raise ValueError(f"levels must be >= 1; got {levels}.")
    height, width, channels = event_shape
    multiple = 2**levels
    if height % multiple or width % multiple:
        larger = tuple(-(-size // multiple) * multiple for size in (height, width))
        smaller = tuple(size // multiple * multiple for size in (height, width))
        ways = [f"Pad the images to {(*larger, channels)}"]
        ways += [f"crop them to {(*smaller, channels)}"] if min(smaller) else []
        ways += ["use fewer levels"] if levels > 1 else []
        raise ValueError(
            f"glow needs height and width divisible by 2**levels = {multiple}; got {event_shape}. "
            f"{', or '.join(ways)}."
        )
