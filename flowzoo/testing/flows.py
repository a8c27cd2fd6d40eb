"""Small flows, rows and contexts for the checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo import random
from flowzoo.flow import Flow
from flowzoo.models._factory import create_model, event_kind
from flowzoo.models._registry import model_info

# A small flow takes those of these options that its architecture has.
_SMALL = {
    "layers": 2,
    "steps": 2,
    "levels": 1,
    "blocks": 0,
    "bins": 4,
    "hidden_units": (8,),
    "channels": 4,
}


def small_options(name: str, event_shape: Sequence[int] = (2,)) -> dict[str, Any]:
    """Options of `create_model` that make a small flow of a registered architecture.

    Args:
        name: Registry name.
        event_shape: ``(D,)`` or ``(H, W, C)``.
    """
    info = model_info(name)
    used = info.options_for(event_kind(info, tuple(event_shape)))
    return {key: value for key, value in _SMALL.items() if key in used}


def make_flow(
    name: str,
    event_shape: Sequence[int],
    context_shape: Sequence[int] | None = None,
    *,
    dtype: str = "float64",
    noise: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """A small flow that is not the identity: adapted to raw data, with noise added to its weights.

    Args:
        name: Registry name.
        event_shape: ``(D,)`` or ``(H, W, C)``.
        context_shape: ``(size,)`` or None.
        dtype: "float64" or "float32".
        noise: Standard deviation of the noise added to each trainable weight.
        seed: Seed of the weights, the data and the noise.
        **options: Options of `create_model`.
    """
    keras.utils.set_random_seed(seed)
    flow = create_model(name, event_shape, context_shape, dtype=dtype, **options)
    flow.adapt(raw_rows(flow, 256, seed), contexts(flow, 256, seed))
    perturb(flow, noise, seed)
    return flow


def make_new_flow(
    name: str, event_shape: Sequence[int], context_shape: Sequence[int] | None = None, **options: Any
) -> Flow:
    """A new flow without preprocessing, for `check_near_identity`."""
    keras.utils.set_random_seed(0)
    own = {"preprocessing": "none", "dequantize": None, "base": "normal", "dtype": "float64"}
    return create_model(name, event_shape, context_shape, **{**options, **own})


def perturb(layer: keras.layers.Layer, noise: float = 0.1, seed: int = 0) -> None:
    """Adds seeded normal noise to every trainable weight, so that zero initial values hide no error."""
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(weight.numpy() + noise * generator.standard_normal(weight.shape))


def raw_rows(flow: Flow, count: int, seed: int = 0) -> np.ndarray:
    """Rows in raw units that suit the flow's preprocessing: pixels, whole numbers, or real numbers."""
    generator = np.random.default_rng(seed)
    shape = (count, *flow.event_shape)
    if flow.density.support is not None:
        low, high = flow.density.support
        return generator.integers(int(low), int(high), shape)
    if flow.density.discrete_steps.any():
        return generator.integers(0, 16, shape)
    return generator.normal(3.0, 2.0, shape)


def contexts(flow: Flow, count: int, seed: int = 0) -> np.ndarray | None:
    """Contexts for this many rows, or None for an unconditional flow."""
    if flow.context_shape is None:
        return None
    return np.random.default_rng(seed + 1).normal(size=(count, *flow.context_shape))


def points(flow, count=8):
    """Dequantized raw rows, latents of the base, and contexts, as tensors."""
    dtype = flow.variable_dtype
    x = flow.density.dequantize(tf.constant(raw_rows(flow, count, seed=3), dtype))
    context = contexts(flow, count, seed=3)
    context = None if context is None else tf.constant(context, dtype)
    seeds = tf.constant(random.row_seeds(3, count))
    return x, flow.base.sample(seeds, tf.ones([count], dtype), context), context


def draw(flow, count):
    """Samples under one context, and that context repeated for each of them."""
    context = None
    if flow.context_shape is not None:
        context = tf.repeat(tf.constant(contexts(flow, 1), flow.variable_dtype), count, axis=0)
    seeds = tf.constant(random.row_seeds(11, count))
    return flow.density.sample_rows(seeds, tf.ones([count], flow.variable_dtype), context).numpy(), context
