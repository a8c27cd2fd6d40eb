"""MAF and IAF: masked autoregressive flows, conditioned on data or on latents."""

from __future__ import annotations

from flowzoo import conditioners, layers, random
from flowzoo.registry import register_model

_ORDERS = ("natural", "reversed", "random")
_LINEAR = ("none", "lu")


@register_model(
    "maf",
    paper="Papamakarios, Pavlakou, Murray: Masked Autoregressive Flow for Density Estimation (2017)",
    url="https://arxiv.org/abs/1705.07057",
    events=("vector", "image"),
)
def maf(
    event_shape,
    context_shape=None,
    *,
    steps: int = 5,
    hidden_units=(128, 128),
    residual: bool = False,
    activation: str = "relu",
    order: str = "reversed",
    linear: str = "none",
    actnorm: bool = True,
    scale_bound: float = 3.0,
    inverse: str = "incremental",
    seed: int = 0,
):
    """Affine autoregressive layers whose densities take one pass; samples about as long.

    Args:
        event_shape: ``(D,)``, or ``(H, W, C)``, whose pixels are one vector.
        context_shape: ``(size,)`` or None.
        steps: Number of autoregressive layers.
        hidden_units: Widths of each MADE's hidden layers.
        residual: ResMADE: an odd number of equal widths, one for the input layer and two a block.
        activation: Of the MADEs.
        order: Of the columns from step to step: "natural" (the same), "reversed" or "random".
        linear: "lu" puts an LU-linear layer between steps (Durkan et al. 2019).
        actnorm: A scale and a shift for each column before each step, set by `adapt`; it takes the
            place of the paper's batch normalisation.
        scale_bound: Bound of each log-scale.
        inverse: How samples are made: "incremental", "jacobi" or "sequential".
        seed: Of the random orders.

    Returns:
        Flow layers, data side first.
    """
    return _autoregressive(
        event_shape, "data", steps, hidden_units, residual, activation, order, linear, actnorm, scale_bound,
        inverse, seed,
    )  # fmt: skip


@register_model(
    "iaf",
    paper="Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow (2016)",
    url="https://arxiv.org/abs/1606.04934",
    events=("vector", "image"),
)
def iaf(
    event_shape,
    context_shape=None,
    *,
    steps: int = 5,
    hidden_units=(128, 128),
    residual: bool = False,
    activation: str = "relu",
    order: str = "reversed",
    linear: str = "none",
    actnorm: bool = True,
    scale_bound: float = 3.0,
    inverse: str = "incremental",
    seed: int = 0,
):
    """Affine autoregressive layers whose samples take one pass; densities of data about as long.

    Args:
        event_shape: ``(D,)``, or ``(H, W, C)``, whose pixels are one vector.
        context_shape: ``(size,)`` or None.
        steps: Number of autoregressive layers.
        hidden_units: Widths of each MADE's hidden layers.
        residual: ResMADE: an odd number of equal widths, one for the input layer and two a block.
        activation: Of the MADEs.
        order: Of the columns from step to step: "natural" (the same), "reversed" or "random".
        linear: "lu" puts an LU-linear layer between steps (Durkan et al. 2019).
        actnorm: A scale and a shift for each column before each step, set by `adapt`.
        scale_bound: Bound of each log-scale.
        inverse: How densities of data are computed: "incremental", "jacobi" or "sequential".
        seed: Of the random orders.

    Returns:
        Flow layers, data side first.
    """
    return _autoregressive(
        event_shape, "latent", steps, hidden_units, residual, activation, order, linear, actnorm, scale_bound,
        inverse, seed,
    )  # fmt: skip


def _autoregressive(
    event_shape, conditions_on, steps, hidden_units, residual, activation, order, linear, actnorm,
    scale_bound, inverse, seed,
):  # fmt: skip
    if order not in _ORDERS:
        raise ValueError(f"order must be one of {_ORDERS}; got {order!r}.")
    if linear not in _LINEAR:
        raise ValueError(f"linear must be one of {_LINEAR}; got {linear!r}.")
    flow_layers, (columns,) = layers.flattened(event_shape)
    for i in range(steps):
        if i > 0 and order != "natural":
            permutation = "reverse" if order == "reversed" else random.permutation(seed + i, columns)
            flow_layers.append(layers.Permute(permutation))
        if i > 0 and linear == "lu":
            flow_layers.append(layers.LULinear())
        if actnorm:
            flow_layers.append(layers.ActNorm())
        made = conditioners.MADE(hidden_units, activation, residual)
        flow_layers.append(layers.AffineAutoregressive(made, conditions_on, inverse, scale_bound))
    return flow_layers
