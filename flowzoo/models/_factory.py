"""create_model: an architecture's layers, with preprocessing and a base around them, as a Flow."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flowzoo.backend.imports import import_tensorflow
from flowzoo.models._registry import Entry, ModelInfo, find_entry
from flowzoo.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    from flowzoo.bases import Base
    from flowzoo.flow import Flow

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
# Options of every architecture.
COMMON_OPTIONS = ("preprocessing", "pixel_levels", "dequantize", "base", "dtype")


def create_model(
    name: str,
    event_shape: Sequence[int],
    context_shape: Sequence[int] | None = None,
    *,
    preprocessing: str = "auto",
    pixel_levels: int = 256,
    dequantize: float | Sequence[float] | None = None,
    base: str | dict | Base = "normal",
    dtype: str | None = None,
    **options: Any,
) -> Flow:
    """Builds a flow by name.

    Args:
        name: Registry name, see `list_models`.
        event_shape: Shape of one row: ``(D,)`` or ``(H, W, C)``.
        context_shape: ``(size,)`` of the context vectors; None for an unconditional flow.
        preprocessing: "standardize" (mean 0, variance 1; set by `adapt`), "whiten" (and no correlations: for
            columns that nearly determine each other), "pixels" (whole pixels: dequantized, then logit),
            "none", or "auto": pixels for images, standardize for vectors.
        pixel_levels: Number of pixel values, for "pixels": 256 means 0..255.
        dequantize: Step of discrete data, one number or one per column (0: continuous).
        base: Distribution of the latents: "normal", "uniform", "diagonal_gaussian", "full_gaussian",
            "student_t", "mixture" or "conditional_gaussian", or a `flowzoo.bases.Base` with its own options.
        dtype: A Keras dtype policy, for example "float64" or "mixed_bfloat16".
        **options: The architecture's own options, see ``model_info(name).options``.

    Returns:
        A built `Flow`.

    Raises:
        ValueError: On an unknown name or option (the message names the nearest), an option that this kind of
            event does not use, or shapes that do not fit the architecture.

    Example:
        >>> import flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(8,), hidden_units=(32,))
        >>> flow.sample(3).shape.as_list()
        [3, 8]
    """
    import_tensorflow()
    entry = find_entry(name)
    shape = _shape(event_shape, "event_shape")
    event = event_kind(entry.info, shape)
    common = {
        "preprocessing": preprocessing,
        "pixel_levels": pixel_levels,
        "dequantize": dequantize,
        "base": base,
    }
    return _build(
        entry,
        shape,
        None if context_shape is None else _shape(context_shape, "context_shape"),
        common,
        {**entry.info.options_for(event), **upgrade_options(entry, options, event)},
        dtype,
    )


def build_preset(config: dict) -> Flow:
    """Builds the flow that a preset's ``config.json`` describes; options of earlier versions are upgraded.

    Args:
        config: What `flowzoo.storage.presets.read_config` returns.

    Raises:
        ValueError: If it does not describe a flow.
    """
    return create_model(
        config["architecture"],
        config["event_shape"],
        config["context_shape"],
        dtype=config["dtype"],
        **preset_options(config),
    )


def preset_options(config: dict) -> dict[str, Any]:
    """The options of a preset in today's spelling, without those that its event does not use.

    Args:
        config: What `flowzoo.storage.presets.read_config` returns.

    Raises:
        ValueError: On an unknown architecture, or an event that it does not take.
    """
    options = dict(config["options"])
    common = {key: options.pop(key) for key in COMMON_OPTIONS if key in options}
    entry = find_entry(config["architecture"])
    event = event_kind(entry.info, _shape(config["event_shape"], "event_shape"))
    if entry.upgrade is not None:
        options = entry.upgrade(options, event)
    # Until 0.1 a preset also held the options that its event does not use.
    unused = entry.info.image_options if event == "vector" else entry.info.vector_options
    return common | {key: value for key, value in options.items() if key not in unused}


def event_kind(info: ModelInfo, event_shape: tuple[int, ...]) -> str:
    """The kind of event that a shape is: "vector" or "image".

    Raises:
        ValueError: If the architecture does not take events of this shape.
    """
    kind = {1: "vector", 3: "image"}.get(len(event_shape), "")
    if kind not in info.events:
        accepted = " or ".join({"vector": "(D,)", "image": "(H, W, C)"}[event] for event in info.events)
        raise ValueError(f"{info.name} takes events of shape {accepted}; got event_shape={event_shape}.")
    return kind


def upgrade_options(entry: Entry, options: dict[str, Any], event: str | None = None) -> dict[str, Any]:
    """Options as given, checked, with names of earlier versions replaced and warned about.

    Args:
        entry: The architecture.
        options: Its own options.
        event: "vector", "image", or None if it is not known yet.

    Raises:
        ValueError: If the architecture has no such option, or this kind of event does not use it.
    """
    if entry.upgrade is not None:
        upgraded = entry.upgrade(dict(options), event)
        if upgraded != options:
            old = ", ".join(f"{key}={options[key]!r}" for key in options if key not in upgraded)
            new = ", ".join(
                f"{key}={value!r}" for key, value in upgraded.items() if options.get(key) != value
            )
            warnings.warn(
                f"{entry.info.name}: {old} is the spelling of an earlier version; write {new or 'nothing'}.",
                DeprecationWarning,
                stacklevel=3,
            )
            options = upgraded
    check_options(entry.info, options, event)
    return options


def check_options(info: ModelInfo, options: Iterable[str], event: str | None = None) -> None:
    """Raises a ValueError for options that the architecture does not have, or the event does not use.

    Args:
        info: The architecture.
        options: Names of its own options.
        event: "vector", "image", or None if it is not known yet.
    """
    used = info.options if event is None else info.options_for(event)
    for key in options:
        if key in used:
            continue
        if not info.options:
            raise ValueError(f"{info.name} has no options of its own; got {key!r}.")
        if key in info.options:
            raise ValueError(
                f"{info.name} does not use {key!r} for {event}s. Options that it uses: {', '.join(used)}."
            )
        raise ValueError(
            f"{info.name} has no option {key!r}. {did_you_mean(key, info.options)} "
            f"Its options: {', '.join(used)}."
        )


def _build(
    entry: Entry,
    event_shape: tuple[int, ...],
    context_shape: tuple[int, ...] | None,
    common: dict[str, Any],
    options: dict[str, Any],
    dtype: str | None,
) -> Flow:
    import keras

    from flowzoo import bases, layers
    from flowzoo.flow import Flow

    base = common["base"]
    recipe = {**common, **options}
    if isinstance(base, bases.Base):
        recipe["base"] = keras.saving.serialize_keras_object(base)
    with _dtype_policy(dtype):
        preprocessing = _preprocessing_layers(
            common["preprocessing"], common["pixel_levels"], common["dequantize"], event_shape
        )
        transforms = list(entry.builder(event_shape, context_shape, **options))
        base = _base(base)
        if isinstance(base, bases.Uniform):
            transforms.append(layers.Sigmoid())
        return Flow(
            transforms,
            event_shape,
            context_shape,
            preprocessing=preprocessing,
            base=base,
            architecture=entry.info.name,
            options=_plain(recipe),
            name=entry.info.name,
        )


def _base(base):
    """The base, from its name, from an instance, or from its configuration in a preset."""
    import keras

    from flowzoo import bases

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
            raise ValueError("The base belongs to another flow: make a new base for each flow.")
        return base
    if not isinstance(base, str) or base not in _BASES:
        raise ValueError(
            f"base must be one of flowzoo's, or a flowzoo.bases.Base; got {base!r}. "
            f"{did_you_mean(str(base), _BASES)}"
        )
    return getattr(bases, _BASES[base])()


def _preprocessing_layers(kind, pixel_levels, dequantize, event_shape):
    from flowzoo.layers import preprocessing

    if kind not in _PREPROCESSING:
        raise ValueError(f"preprocessing must be one of {_PREPROCESSING}; got {kind!r}.")
    if kind == "auto":
        kind = "pixels" if len(event_shape) == 3 else "standardize"
    if kind == "pixels":
        if dequantize is not None:
            raise ValueError("preprocessing='pixels' dequantizes by itself; leave dequantize out.")
        if pixel_levels < 2:
            raise ValueError(f"pixel_levels must be at least 2; got {pixel_levels}.")
        return [preprocessing.Dequantize(1.0), preprocessing.Logit(0.0, pixel_levels)]
    before = [] if dequantize is None else [preprocessing.Dequantize(dequantize)]
    adapted = {"standardize": preprocessing.Standardize, "whiten": preprocessing.Whiten}
    return [*before, adapted[kind]()] if kind in adapted else before


def _shape(shape: Any, argument: str) -> tuple[int, ...]:
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
    """NumPy's numbers and arrays as Python's, so that JSON can hold them."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@contextlib.contextmanager
def _dtype_policy(dtype):
    """Sets Keras's dtype policy while layers are made, so that builders need not pass it on."""
    import keras

    held = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or held)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(held)
