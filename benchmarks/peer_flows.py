"""Flows of the other libraries: those of ../shared/peers, with LU-linear layers or autoregressive splines.

The inserted layers are the libraries' own. Each library is imported where it is used, since no venv has all.
"""

from __future__ import annotations

from functools import partial

import common
import jax_common


def build(library, columns: int, settings: dict):
    """The flow of bench_<peer>.py with the layers, width and bins of the settings."""
    case, peer = settings["case"], settings["peer"]
    common.LAYERS[case] = settings["layers"]
    common.NSF.update(settings["spline"])
    if peer == "flowjax":
        if settings["autoregressive"]:
            return flowjax_splines(columns, settings)
        return library.build(case, columns, settings["width"], "train", settings["variant"], 0)
    flow = library.build(case, columns, settings["width"], "train")
    if settings["lu"] or settings["autoregressive"]:
        {"zuko": zuko, "nflows": nflows, "normflows": normflows}[peer](flow.module, columns, settings)
    return flow


def zuko(flow, columns: int, settings: dict) -> None:
    """Replaces couplings by autoregressive splines and adds random permutations and LU, per the settings."""
    import torch
    from zuko import transforms
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform
    from zuko.lazy import LazyComposedTransform, UnconditionalTransform

    parts = list(flow.transform.transforms)
    if settings["autoregressive"]:
        bins, bound = settings["spline"]["bins"], settings["spline"]["bound"]
        spline = {
            "univariate": partial(transforms.MonotonicRQSTransform, bound=bound),
            "shapes": [(bins,), (bins,), (bins - 1,)],
            "hidden_features": (settings["width"],) * 2,
        }
        parts = [MaskedAutoregressiveTransform(columns, **spline) for _ in parts]
    mixed = []
    for part in parts:
        if settings["lu"]:
            order = torch.randperm(columns)
            mixed.append(UnconditionalTransform(transforms.PermutationTransform, order, buffer=True))
            mixed.append(UnconditionalTransform(transforms.LULinearTransform, torch.eye(columns)))
        mixed.append(part)
    flow.transform = LazyComposedTransform(*mixed)


def nflows(flow, columns: int, settings: dict) -> None:
    """The same for nflows; random permutations replace the reversals between affine layers."""
    from nflows import transforms

    parts = [part for part in flow._transform._transforms if not isinstance(part, transforms.Permutation)]
    if settings["autoregressive"]:
        spline = partial(
            transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
            num_bins=settings["spline"]["bins"],
            tails="linear",
            tail_bound=settings["spline"]["bound"],
            num_blocks=1,
            use_residual_blocks=False,
        )
        parts = [spline(columns, settings["width"]) for _ in parts]
    mixed = []
    for part in parts:
        if settings["lu"]:
            mixed += [transforms.RandomPermutation(columns), transforms.LULinear(columns)]
        mixed.append(part)
    flow._transform = transforms.CompositeTransform(mixed)


def normflows(flow, columns: int, settings: dict) -> None:
    """The same for normflows, whose lists run from latents to data."""
    import torch
    from normflows import flows

    parts = [part for part in flow.flows if not isinstance(part, flows.Permute)]
    if settings["autoregressive"]:
        spline = {"num_bins": settings["spline"]["bins"], "tail_bound": settings["spline"]["bound"]}
        # One residual block has one product more than the others' networks; normflows has nothing smaller.
        parts = [
            flows.AutoregressiveRationalQuadraticSpline(columns, 1, settings["width"], **spline)
            for _ in parts
        ]
    mixed = []
    for part in parts:
        mixed.append(part)
        if settings["lu"]:
            mixed.append(flows.LULinearPermute(columns))
    flow.flows = torch.nn.ModuleList(mixed)


def flowjax_splines(columns: int, settings: dict):
    """flowjax's masked autoregressive flow with splines; it has permutations instead of LU-linear layers."""
    import equinox
    import jax
    import paramax
    from flowjax import bijections, distributions, flows

    spline = settings["spline"]
    flow = flows.masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=distributions.StandardNormal((columns,)),
        transformer=bijections.RationalQuadraticSpline(knots=spline["bins"] - 1, interval=spline["bound"]),
        flow_layers=settings["layers"],
        nn_width=settings["width"],
        nn_depth=2,
    )
    weights, rest = equinox.partition(
        flow, equinox.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    return jax_common.Flow(
        weights, lambda weights, x: paramax.unwrap(equinox.combine(weights, rest)).log_prob(x), None
    )
