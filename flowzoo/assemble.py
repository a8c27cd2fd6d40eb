"""Puts preprocessing and a base around an architecture's layers, and makes a Flow of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from flowzoo import bases, layers
from flowzoo.flow import Flow
from flowzoo.registry import nearest

if TYPE_CHECKING:
    from flowzoo.registry import Builder, ModelInfo

_PREPROCESSING = ("auto", "standardize", "whiten", "pixels", "none")
_BASES = {
    "normal": "Normal",
    "uniform": "Uniform",
    "diagonal_gaussian": "DiagonalGaussian",
    "full_gaussian": "FullGaussian",
    "conditional_gaussian": "ConditionalGaussian",
    "student_t": "StudentT",
    "mixture": "Mixture",
}


def assemble(
    info: ModelInfo,
    builder: Builder,
    event_shape: Sequence[int],
    context_shape: Sequence[int] | None,
    *,
    preprocessing: str,
    pixel_levels: int,
    dequantize,
    base: str | dict | bases.Base,
    dtype: str | None,
    options: dict,
) -> Flow:
    """Builds the flow of one architecture; `flowzoo.create_model` documents the arguments."""
    event_shape = _shape(event_shape, "event_shape")
    context_shape = None if context_shape is None else _shape(context_shape, "context_shape")
    _check_event(info, event_shape)
    recipe = {
        "preprocessing": preprocessing,
        "pixel_levels": pixel_levels,
        "dequantize": dequantize,
        "base": keras.saving.serialize_keras_object(base) if isinstance(base, bases.Base) else base,
        **options,
    }
    with _dtype_policy(dtype):
        before = _preprocessing_layers(preprocessing, pixel_levels, dequantize, event_shape)
        transforms = list(builder(event_shape, context_shape, **options))
        base = _base(base)
        if isinstance(base, bases.Uniform):
            transforms.append(layers.Sigmoid())
        return Flow(
            transforms,
            event_shape,
            context_shape,
            preprocessing=before,
            base=base,
            architecture=info.name,
            options=_plain(recipe),
            name=info.name,
        )


def _base(base):
    """A base by name, the one that was given, or one as it is written in a preset."""
    if isinstance(base, dict):
        base = keras.saving.deserialize_keras_object(base)
    if isinstance(base, bases.Base):
        policy = keras.config.dtype_policy()
        if base.variable_dtype != policy.variable_dtype:
            raise ValueError(
                f"The base is {base.variable_dtype} and the flow {policy.variable_dtype}: make the base with "
                f"dtype={policy.name!r}."
            )
        if base.built:
            raise ValueError("The base belongs to another flow: make a new one for each.")
        return base
    if not isinstance(base, str) or base not in _BASES:
        raise ValueError(
            f"base must be one of flowzoo's, or a flowzoo.bases.Base; got {base!r}. "
            f"{nearest(str(base), list(_BASES))}"
        )
    return getattr(bases, _BASES[base])()


def _preprocessing_layers(kind, pixel_levels, dequantize, event_shape):
    if kind not in _PREPROCESSING:
        raise ValueError(f"preprocessing must be one of {_PREPROCESSING}; got {kind!r}.")
    if kind == "auto":
        kind = "pixels" if len(event_shape) == 3 else "standardize"
    if kind == "pixels":
        if dequantize is not None:
            raise ValueError("preprocessing='pixels' dequantises by itself; leave dequantize out.")
        if pixel_levels < 2:
            raise ValueError(f"pixel_levels must be at least 2; got {pixel_levels}.")
        return [layers.Dequantize(1.0), layers.Logit(0.0, pixel_levels)]
    before = [] if dequantize is None else [layers.Dequantize(dequantize)]
    adapted = {"standardize": layers.Standardize, "whiten": layers.Whiten}
    return [*before, adapted[kind]()] if kind in adapted else before


def _check_event(info, event_shape):
    kind = {1: "vector", 3: "image"}.get(len(event_shape))
    if kind not in info.events:
        wanted = " or ".join({"vector": "(D,)", "image": "(H, W, C)"}[event] for event in info.events)
        raise ValueError(f"{info.name} takes events of shape {wanted}; got event_shape={event_shape}.")


def _shape(shape, argument):
    try:
        shape = tuple(int(size) for size in shape)
    except TypeError:
        raise ValueError(f"{argument} must be a tuple such as (8,); got {shape!r}.") from None
    if not shape or min(shape) < 1:
        raise ValueError(f"{argument} must hold sizes >= 1; got {shape}.")
    if argument == "context_shape" and len(shape) != 1:
        raise ValueError(f"context_shape must be (size,): contexts are vectors; got {shape}.")
    return shape


def _plain(value):
    """NumPy's numbers and arrays as Python's, so that a preset can hold them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@contextlib.contextmanager
def _dtype_policy(dtype):
    """Sets Keras's dtype policy while layers are made, so that builders need not pass it on."""
    held = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or held)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(held)
