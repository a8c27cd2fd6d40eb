"""NSF: neural spline flows, rational-quadratic couplings (Durkan et al. 2019)."""

from __future__ import annotations

from typing import Any

from flowzoo import conditioners, layers, random
from flowzoo.models._networks import residual_units, vector_network
from flowzoo.models._registry import register_model

_LINEAR = ("lu", "permutation", "none")


def _upgrade(options, event):
    """Until 0.1 `blocks` was the number of residual blocks, 0 for plain conditioners."""
    if "blocks" in options:
        blocks = options.pop("blocks")
        if blocks:
            units = residual_units(options.get("hidden_units", (128, 128)), blocks)
            options |= {"hidden_units": units, "residual": True}
    return options


@register_model(
    "nsf",
    paper="Durkan, Bekasov, Murray, Papamakarios: Neural Spline Flows (2019)",
    url="https://arxiv.org/abs/1906.04032",
    events=("vector", "image"),
    upgrade=_upgrade,
)
def nsf(
    event_shape,
    context_shape=None,
    *,
    steps: int = 5,
    hidden_units=(128, 128),
    residual: bool = False,
    bins: int = 8,
    bound: float = 3.0,
    linear: str = "lu",
    autoregressive: bool = False,
    identity_spline: bool = True,
    activation: str = "relu",
    dropout: float = 0.0,
    seed: int = 0,
):
    """Rational-quadratic splines, coupling or autoregressive, with LU-linear layers between.

    Args:
        event_shape: ``(D,)``, with D >= 2 for couplings, or ``(H, W, C)``, flattened to a vector.
        context_shape: ``(size,)`` or None.
        steps: Number of couplings or autoregressive layers (10 in the paper).
        hidden_units: Widths of each conditioner's hidden layers.
        residual: Whether conditioners are residual, with an odd number of equal widths: one for the first
            layer and two for each block (2 blocks in the paper).
        bins: Number of bins of the splines.
        bound: The splines act in ``[-bound, bound]``, in units of their inputs: at the first step,
            standard deviations of the data. Outside they are the identity.
        linear: What mixes the columns: "lu" (a random permutation and a learned linear map before each
            step, a linear map after the last), "permutation", or "none": halves take turns in couplings,
            and autoregressive layers keep one order of the columns.
        autoregressive: True for RQ-NSF (AR) of the paper, where the columns before a column set its spline;
            False for couplings, RQ-NSF (C). Samples take about as long as densities.
        identity_spline: Couplings: whether the conditioning half gets its own splines.
        activation: Activation of the conditioners.
        dropout: Dropout rate in the conditioners.
        seed: Seed of the random permutations.

    Returns:
        Flow layers, data side first.

    Raises:
        ValueError: On an unknown `linear`, or widths that do not make a residual network.
    """
    if linear not in _LINEAR:
        raise ValueError(f"linear must be one of {_LINEAR}; got {linear!r}.")
    network: dict[str, Any] = {"activation": activation, "dropout": dropout}

    def coupling(swap):
        conditioner = vector_network(hidden_units, residual, **network)
        return layers.SplineCoupling(
            conditioner, swap=swap, bins=bins, bound=bound, identity_spline=identity_spline
        )

    def autoregression():
        made = conditioners.MADE(hidden_units, residual=residual, **network)
        return layers.SplineAutoregressive(made, bins=bins, bound=bound)

    flow_layers, (columns,) = layers.flattened(event_shape)
    for i in range(steps):
        flow_layers += _mix(columns, linear, i, seed + i)
        swap = linear == "none" and i % 2 == 1
        flow_layers.append(autoregression() if autoregressive else coupling(swap))
    return [*flow_layers, layers.LULinear()] if linear == "lu" else flow_layers


def _mix(columns, linear, step, seed):
    """The layers before a step."""
    mixing = []
    if linear != "none" and step > 0:
        # With two columns a random order is the identity half of the time, and the halves would not change.
        order = "reverse" if columns == 2 else random.permutation(seed, columns)
        mixing.append(layers.Permute(order))
    return [*mixing, layers.LULinear()] if linear == "lu" else mixing
