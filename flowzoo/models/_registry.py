"""The registry of architectures: register_model, list_models, model_info. Needs no TensorFlow."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from flowzoo.storage import presets
from flowzoo.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    from flowzoo.layers import FlowLayer

ENTRY_POINT_GROUP = "flowzoo.models"
EVENTS = ("vector", "image")

Builder = Callable[..., "list[FlowLayer]"]
Upgrade = Callable[[dict[str, Any], "str | None"], dict[str, Any]]


@dataclass(frozen=True)
class ModelInfo:
    """What is known about an architecture without building it.

    Attributes:
        name: Registry name.
        summary: One sentence.
        paper: Authors, title, year.
        url: Where to read it.
        events: Kinds of events it takes: "vector", "image" or both.
        options: The architecture's own options with their defaults.
        vector_options: Options that only vectors use.
        image_options: Options that only images use.
        pretrained: Names of the presets of this architecture.
    """

    name: str
    summary: str
    paper: str
    url: str
    events: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    vector_options: tuple[str, ...] = ()
    image_options: tuple[str, ...] = ()
    pretrained: tuple[str, ...] = ()

    def options_for(self, event: str) -> dict[str, Any]:
        """The options that a kind of event uses, with their defaults.

        Args:
            event: "vector" or "image".
        """
        unused = self.image_options if event == "vector" else self.vector_options
        return {key: default for key, default in self.options.items() if key not in unused}


@dataclass(frozen=True)
class Entry:
    """A registered architecture.

    Attributes:
        info: Its description.
        builder: The function that returns its layers.
        upgrade: Maps options of earlier versions to today's.
    """

    info: ModelInfo
    builder: Builder
    upgrade: Upgrade | None = None


_ENTRIES: dict[str, Entry] = {}
_state = {"own_models_imported": False}


def register_model(
    name: str,
    *,
    paper: str,
    url: str = "",
    events: Sequence[str] = ("vector",),
    vector_options: Sequence[str] = (),
    image_options: Sequence[str] = (),
    upgrade: Upgrade | None = None,
) -> Callable[[Builder], Builder]:
    """Registers a function that builds an architecture's layers.

    The function takes ``(event_shape, context_shape, **options)`` and returns flow layers, data side
    first. Its keyword-only arguments with their defaults are the architecture's options; the first
    line of its docstring is the summary. `create_model` puts preprocessing and a base around the layers.

    Args:
        name: Registry name, lower case.
        paper: Authors, title, year.
        url: Where to read it.
        events: "vector", "image", or both.
        vector_options: Options that only vectors use; refused for images.
        image_options: Options that only images use; refused for vectors.
        upgrade: ``upgrade(options, event)`` maps options of earlier versions to today's, so that old presets
            and old code still work.

    Raises:
        ValueError: If another function has the name.

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
        options = _options(builder)
        unknown = {*vector_options, *image_options} - set(options)
        if unknown:
            raise ValueError(
                f"{name} declares {min(unknown)!r} for one kind of event; it has no such option."
            )
        info = ModelInfo(
            name=name,
            summary=(inspect.getdoc(builder) or "").split("\n")[0],
            paper=paper,
            url=url,
            events=tuple(events),
            options=options,
            vector_options=tuple(vector_options),
            image_options=tuple(image_options),
        )
        _ENTRIES[name] = Entry(info, builder, upgrade)
        return builder

    return register


def unregister_model(name: str) -> None:
    """Removes a name from the registry (for tests and notebooks)."""
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
    names = presets.list_presets() if pretrained else _all_names()
    return sorted(fnmatch.filter(names, pattern))


def model_info(name: str) -> ModelInfo:
    """Describes an architecture: paper, options with defaults, presets.

    Raises:
        ValueError: If the name is unknown; the message names the nearest ones.
    """
    return replace(find_entry(name).info, pretrained=tuple(presets.presets_of(name)))


def find_entry(name: str) -> Entry:
    """A registered architecture.

    Raises:
        ValueError: If the name is unknown; the message names the nearest ones.
    """
    names = _all_names()
    if name not in _ENTRIES:
        if name not in names:
            raise ValueError(f"Unknown model {name!r}. {did_you_mean(name, names)}")
        _load_entry_point(name)
    return _ENTRIES[name]


def _home(builder: Builder) -> tuple[str, str]:
    """Where a function was written; the same place again is a module or a cell that was run twice."""
    return builder.__module__, builder.__qualname__


def _options(builder: Builder) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _all_names() -> list[str]:
    if not _state["own_models_imported"]:
        package = importlib.import_module("flowzoo.models")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"flowzoo.models.{module.name}")
        _state["own_models_imported"] = True
    third_party = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
    return sorted({*_ENTRIES, *third_party})


def _load_entry_point(name: str) -> None:
    """Imports a third party's module, which runs its `register_model`."""
    (point, *_) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    try:
        point.load()
    except Exception as error:
        raise ValueError(f"The model {name!r} of {point.value} cannot be imported: {error}") from error
    if name not in _ENTRIES:
        raise ValueError(f"{point.value} was imported for {name!r} but does not register that name.")
