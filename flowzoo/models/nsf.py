"""NSF: neural spline flows, rational-quadratic couplings (Durkan et al. 2019)."""

from __future__ import annotations

from flowzoo import conditioners, layers, random
from flowzoo.registry import register_model

_LINEAR = ("lu", "permutation", "none")


@register_model(
    "nsf",
    paper="Durkan, Bekasov, Murray, Papamakarios: Neural Spline Flows (2019)",
    url="https://arxiv.org/abs/1906.04032",
    events=("vector", "image"),
)
def nsf(
    event_shape,
    context_shape=None,
    *,
    steps: int = 5,
    hidden_units=(128, 128),
    blocks: int = 0,
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
        event_shape: ``(D,)``, with D >= 2 for couplings, or ``(H, W, C)``, whose pixels are one vector.
        context_shape: ``(size,)`` or None.
        steps: Number of couplings or autoregressive layers (10 in the paper).
        hidden_units: Widths of each conditioner's hidden layers.
        blocks: 0 for plain conditioners. Else residual ones of so many blocks of two layers (2 in the paper),
            all of the width ``hidden_units[0]``.
        bins: Of the splines.
        bound: The splines act in ``[-bound, bound]``, in units of what the layer before gives: standard
            deviations of the data at the first step. Outside they are the identity.
        linear: What mixes the columns: "lu" (a random permutation and a learned linear map before each
            step, a linear map after the last), "permutation", or "none": halves take turns in couplings,
            and autoregressive layers keep one order of the columns.
        autoregressive: RQ-NSF (AR) of the paper, each column's spline set by the columns before it, in
            place of couplings, RQ-NSF (C). Samples take about as long as densities.
        identity_spline: Couplings: whether the half that conditions gets splines of its own.
        activation: Of the conditioners.
        dropout: In the conditioners.
        seed: Of the random permutations.

    Returns:
        Flow layers, data side first.

    Raises:
        ValueError: On an unknown `linear`, or hidden units that do not fit `blocks`.
    """
    if linear not in _LINEAR:
        raise ValueError(f"linear must be one of {_LINEAR}; got {linear!r}.")
    if blocks and len(set(hidden_units)) != 1:
        raise ValueError(f"A residual conditioner has one width; got hidden_units={tuple(hidden_units)}.")
    network = {"activation": activation, "dropout": dropout}

    def coupling(swap):
        if blocks:
            conditioner = conditioners.ResidualMLP(hidden_units[0], blocks, **network)
        else:
            conditioner = conditioners.MLP(hidden_units, **network)
        return layers.SplineCoupling(
            conditioner, swap=swap, bins=bins, bound=bound, identity_spline=identity_spline
        )

    def autoregression():
        widths = (hidden_units[0],) * (1 + 2 * blocks) if blocks else hidden_units
        made = conditioners.MADE(widths, residual=blocks > 0, **network)
        return layers.SplineAutoregressive(made, bins=bins, bound=bound)

    flow_layers, (columns,) = layers.flattened(event_shape)
    for i in range(steps):
        flow_layers += _mix(columns, linear, i, seed + i)
        swap = linear == "none" and i % 2 == 1
        flow_layers.append(autoregression() if autoregressive else coupling(swap))
    return [*flow_layers, layers.LULinear()] if linear == "lu" else flow_layers


def _mix(columns, linear, step, seed):
    """What comes before a step."""
    mixing = []
    if linear != "none" and step > 0:
        # Of two columns the random order is the same one half of the time, and the halves would not change.
        order = "reverse" if columns == 2 else random.permutation(seed, columns)
        mixing.append(layers.Permute(order))
    return [*mixing, layers.LULinear()] if linear == "lu" else mixing
