"""The registry of architectures: register_model, list_models, model_info, create_model.

Nothing here imports TensorFlow: listing and describing models is instant.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from flowzoo.imports import import_tensorflow

if TYPE_CHECKING:
    from flowzoo.bases import Base
    from flowzoo.flow import Flow
    from flowzoo.layers import FlowLayer

ENTRY_POINT_GROUP = "flowzoo.models"

Builder = Callable[..., "list[FlowLayer]"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of an architecture without building it.

    Attributes:
        name: Registry name.
        summary: One sentence.
        paper: Authors, title, year.
        url: Where to read it.
        events: Event kinds it takes: "vector", "image" or both.
        options: The architecture's own options with their defaults.
        pretrained: Names of the presets of this architecture.
    """

    name: str
    summary: str
    paper: str
    url: str
    events: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Entry:
    info: ModelInfo
    builder: Builder


_ENTRIES: dict[str, _Entry] = {}
_state = {"own_models_imported": False}


def register_model(
    name: str, *, paper: str, url: str = "", events: Sequence[str] = ("vector",)
) -> Callable[[Builder], Builder]:
    """Registers a function that builds an architecture's layers.

    The function takes ``(event_shape, context_shape, **options)`` and returns flow layers, data side
    first. Its keyword-only arguments with their defaults are the architecture's options, the first
    line of its docstring is the summary. `create_model` puts preprocessing and a base around.

    Args:
        name: Registry name, lower case.
        paper: Authors, title, year.
        url: Where to read it.
        events: "vector", "image", or both.

    Raises:
        ValueError: If another function holds the name.

    Example:
        >>> import flowzoo
        >>> @flowzoo.register_model("shift_only", paper="none")
        ... def shift_only(event_shape, context_shape=None, *, reverse=False):
        ...     "One ActNorm."
        ...     return [flowzoo.layers.ActNorm()]
        >>> flowzoo.create_model("shift_only", event_shape=(2,)).sample(3).shape.as_list()
        [3, 2]
        >>> unregister_model("shift_only")
    """

    def register(builder: Builder) -> Builder:
        held = _ENTRIES.get(name)
        if held is not None and _home(held.builder) != _home(builder):
            raise ValueError(
                f"The model name {name!r} is taken by {held.builder.__module__}."
                f"{held.builder.__qualname__}; choose another name."
            )
        info = ModelInfo(
            name=name,
            summary=(inspect.getdoc(builder) or "").split("\n")[0],
            paper=paper,
            url=url,
            events=tuple(events),
            options=_options(builder),
        )
        _ENTRIES[name] = _Entry(info, builder)
        return builder

    return register


def unregister_model(name: str) -> None:
    """Takes a name out of the registry (for tests and notebooks)."""
    del _ENTRIES[name]


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names of the architectures, or of the pretrained flows, that match a pattern.

    Args:
        pattern: Shell-style, for example ``"real*"``.
        pretrained: True lists presets (for `from_pretrained`), False architectures.

    Example:
        >>> list_models("real*")
        ['realnvp']
    """
    if pretrained:
        from flowzoo.presets import list_presets

        names = list_presets()
    else:
        names = _all_names()
    return sorted(fnmatch.filter(names, pattern))


def model_info(name: str) -> ModelInfo:
    """What is known of an architecture: paper, options with defaults, presets.

    Raises:
        ValueError: If the name is unknown; the message names the nearest ones.
    """
    from dataclasses import replace

    from flowzoo.presets import presets_of

    return replace(_entry(name).info, pretrained=tuple(presets_of(name)))


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
            columns that nearly determine each other), "pixels" (whole pixels: dequantised, then logit),
            "none", or "auto": pixels for images, standardize for vectors.
        pixel_levels: Number of pixel values, for "pixels": 256 means 0..255.
        dequantize: Step of discrete data, one number or one for each column (0: continuous).
        base: What the latents follow: "normal", "uniform", "diagonal_gaussian", "full_gaussian", "student_t",
            "mixture" or "conditional_gaussian", or a `flowzoo.bases.Base` with options of its own.
        dtype: A Keras dtype policy, for example "float64" or "mixed_bfloat16".
        **options: The architecture's own options, see ``model_info(name).options``.

    Returns:
        A built `Flow`.

    Raises:
        ValueError: On an unknown name or option (the message names the nearest), or shapes that do
            not fit the architecture.

    Example:
        >>> import flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(8,), hidden_units=(32,))
        >>> flow.sample(3).shape.as_list()
        [3, 8]
    """
    import_tensorflow()
    from flowzoo.assemble import assemble

    entry = _entry(name)
    _check_options(entry.info, options)
    return assemble(
        entry.info,
        entry.builder,
        event_shape,
        context_shape,
        preprocessing=preprocessing,
        pixel_levels=pixel_levels,
        dequantize=dequantize,
        base=base,
        dtype=dtype,
        options={**entry.info.options, **options},
    )


def nearest(word: str, words: Sequence[str]) -> str:
    """The end of an error message: the nearest words, or all of them."""
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "There are: " + ", ".join(sorted(words)) + "."


def _check_options(info: ModelInfo, options: dict) -> None:
    for key in options:
        if key not in info.options and not info.options:
            raise ValueError(f"{info.name} has no options of its own; got {key!r}.")
        if key not in info.options:
            raise ValueError(
                f"{info.name} has no option {key!r}. {nearest(key, list(info.options))} "
                f"Its options: {', '.join(info.options)}."
            )


def _home(builder: Builder) -> tuple[str, str]:
    """Where a function was written: the same place again is a module or a cell that was run twice."""
    return builder.__module__, builder.__qualname__


def _options(builder: Builder) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _entry(name: str) -> _Entry:
    names = _all_names()
    if name not in _ENTRIES:
        if name not in names:
            raise ValueError(f"Unknown model {name!r}. {nearest(name, names)}")
        _load_entry_point(name)
    return _ENTRIES[name]


def _all_names() -> list[str]:
    if not _state["own_models_imported"]:
        package = importlib.import_module("flowzoo.models")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"flowzoo.models.{module.name}")
        _state["own_models_imported"] = True
    third_party = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
    return sorted({*_ENTRIES, *third_party})


def _load_entry_point(name: str) -> None:
    """Imports a third party's module; importing it runs its `register_model`."""
    (point, *_) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    try:
        point.load()
    except Exception as error:
        raise ValueError(f"The model {name!r} of {point.value} cannot be imported: {error}") from error
    if name not in _ENTRIES:
        raise ValueError(f"{point.value} was imported for {name!r} but does not register that name.")
