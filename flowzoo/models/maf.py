"""MAF and IAF: masked autoregressive flows, conditioned on data or on latents."""

from __future__ import annotations

from flowzoo import conditioners, layers, random
from flowzoo.models._registry import register_model

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
    dropout: float = 0.0,
    order: str = "reversed",
    linear: str = "none",
    actnorm: bool = True,
    scale_bound: float = 3.0,
    inverse: str = "incremental",
    seed: int = 0,
):
    """Affine autoregressive layers whose densities take one pass; samples take about as long.

    Args:
        event_shape: ``(D,)``, or ``(H, W, C)``, flattened to a vector.
        context_shape: ``(size,)`` or None.
        steps: Number of autoregressive layers.
        hidden_units: Widths of each MADE's hidden layers.
        residual: Whether MADEs are residual (ResMADE), with an odd number of equal widths: one for the first
            layer and two for each block.
        activation: Activation of the MADEs.
        dropout: Dropout rate in the MADEs.
        order: Order of the columns from step to step: "natural" (the same), "reversed" or "random".
        linear: "lu" puts an LU-linear layer between steps (Durkan et al. 2019).
        actnorm: A scale and a shift for each column before each step, set by `adapt`, instead of the paper's
            batch normalisation.
        scale_bound: Bound of each log-scale.
        inverse: How samples are computed: "incremental", "jacobi" or "sequential".
        seed: Seed of the random orders.

    Returns:
        Flow layers, data side first.

    Raises:
        ValueError: On an unknown `order` or `linear`, or widths that do not make a residual network.
    """

    def autoregression():
        made = conditioners.MADE(hidden_units, activation, residual, dropout)
        return layers.AffineAutoregressive(made, "data", inverse, scale_bound)

    return _autoregressive(event_shape, autoregression, steps, order, linear, actnorm, seed)


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
    """Affine autoregressive layers whose samples take one pass; densities of data take about as long.

    It has no dropout: densities of data do not run its networks in a single pass.

    Args:
        event_shape: ``(D,)``, or ``(H, W, C)``, flattened to a vector.
        context_shape: ``(size,)`` or None.
        steps: Number of autoregressive layers.
        hidden_units: Widths of each MADE's hidden layers.
        residual: Whether MADEs are residual (ResMADE), with an odd number of equal widths: one for the first
            layer and two for each block.
        activation: Activation of the MADEs.
        order: Order of the columns from step to step: "natural" (the same), "reversed" or "random".
        linear: "lu" puts an LU-linear layer between steps (Durkan et al. 2019).
        actnorm: A scale and a shift for each column before each step, set by `adapt`.
        scale_bound: Bound of each log-scale.
        inverse: How densities of data are computed: "incremental", "jacobi" or "sequential".
        seed: Seed of the random orders.

    Returns:
        Flow layers, data side first.

    Raises:
        ValueError: On an unknown `order` or `linear`, or widths that do not make a residual network.
    """

    def autoregression():
        made = conditioners.MADE(hidden_units, activation, residual)
        return layers.AffineAutoregressive(made, "latent", inverse, scale_bound)

    return _autoregressive(event_shape, autoregression, steps, order, linear, actnorm, seed)


def _autoregressive(event_shape, autoregression, steps, order, linear, actnorm, seed):
    """Autoregressive layers with a permutation, a linear map and an actnorm before each."""
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
        flow_layers.append(autoregression())
    return flow_layers
