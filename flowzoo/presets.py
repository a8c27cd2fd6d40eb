"""Preset directories: find, check, load, save; from_pretrained. Listing needs no TensorFlow."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowzoo import files
from flowzoo._version import __version__
from flowzoo.imports import import_tensorflow
from flowzoo.index import CONFIG, FORMAT, INDEX, METADATA, WEIGHTS, Entry, check_format, read_index
from flowzoo.provenance import versions
from flowzoo.registry import create_model, nearest

if TYPE_CHECKING:
    from flowzoo.flow import Flow

REGISTRY_VARIABLE = "FLOWZOO_REGISTRY"


def pretrained_directory() -> Path:
    """Where the bundled presets are: inside the wheel, or at the top of the repository."""
    package = Path(__file__).parent
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def list_presets() -> list[str]:
    """Names of the bundled presets."""
    return list(_bundled())


def presets_of(architecture: str) -> list[str]:
    """Names of the bundled presets of one architecture."""
    return [entry.name for entry in _bundled().values() if entry.architecture == architecture]


def preset_metadata(name_or_directory: str | os.PathLike) -> dict:
    """The metadata of a preset: metrics, data, licence, versions."""
    return files.read_json(find_preset(name_or_directory) / METADATA)


def find_preset(name_or_directory: str | os.PathLike, registry: str | os.PathLike | None = None) -> Path:
    """The directory of a preset, given its name, its URL, the directory itself, or that of a run.

    See `from_pretrained` for where it is looked for.

    Raises:
        ValueError: If there is none; the message names the nearest ones.
        OSError: If a registry cannot be read.
    """
    name = os.fspath(name_or_directory)
    if registry is not None:
        return _fetch(registry, name)
    if "://" in name:
        where, _, last = name.rstrip("/").rpartition("/")
        return _fetch(where, last)
    directory = Path(name_or_directory).expanduser()
    for preset in (directory, directory / "preset"):  # The latter is that of a run directory.
        if (preset / CONFIG).is_file():
            return preset
    names = list_presets()
    if name in names:
        return pretrained_directory() / name
    if directory.is_dir():
        raise ValueError(f"{directory} is no preset: it has no {CONFIG}.")
    if os.environ.get(REGISTRY_VARIABLE):
        return _fetch(os.environ[REGISTRY_VARIABLE], name)
    hint = nearest(name, names) if names else "No presets are bundled with this version."
    raise ValueError(f"There is no preset {name!r}, nor a directory of that name. {hint}")


def find_flow(name_or_path: str | os.PathLike, registry: str | os.PathLike | None = None) -> Path:
    """What `from_pretrained` loads: the directory of a preset, or a ``.keras`` file.

    Raises:
        ValueError: If there is neither; the message names the nearest presets.
        OSError: If a registry cannot be read.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".keras":
        return find_preset(name_or_path, registry)
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    return path


def from_pretrained(
    name_or_directory: str | os.PathLike, *, registry: str | os.PathLike | None = None
) -> Flow:
    """Loads a flow.

    A name is that of a bundled preset, which needs no network, or else of a preset in the registry that the
    environment variable ``FLOWZOO_REGISTRY`` names. What comes from a registry is kept in
    ``~/.cache/flowzoo`` (``FLOWZOO_CACHE`` names another place) and checked each time.

    Args:
        name_or_directory: Name of a preset (see ``list_models(pretrained=True)``), URL of a preset, a
            directory that `Flow.save_to_preset` or `flowzoo fit` wrote, or a ``.keras`` file that `Flow.save`
            wrote.
        registry: URL (https://, gs://, s3://, file://) or directory that `flowzoo zoo publish` wrote to; the
            name is looked for there and nowhere else.

    Returns:
        The flow, with its weights, ready for `log_prob`, `sample`, `fit` and `export`.

    Raises:
        ValueError: If there is no such preset, or its files are damaged, of a newer format, or name what is
            no part of flowzoo; the message names the file.
        OSError: If a registry cannot be read.

    Example:
        >>> import tempfile, flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), couplings=2)
        >>> directory = tempfile.mkdtemp() + "/mine"
        >>> flow.save_to_preset(directory)
        >>> flowzoo.from_pretrained(directory).event_shape
        (2,)
    """
    directory = find_flow(name_or_directory, registry)
    if directory.suffix == ".keras":
        return _load_keras(directory)
    _check_bundled(directory)
    config = _read_config(directory / CONFIG)
    _check_weights(directory)
    try:
        flow = create_model(
            config["architecture"],
            config["event_shape"],
            config["context_shape"],
            dtype=config["dtype"],
            **config["options"],
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{directory / CONFIG} describes no flow: {_reason(error)}") from error
    try:
        flow.load_weights(directory / WEIGHTS)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{directory / WEIGHTS} does not fit {directory / CONFIG}: {str(error).splitlines()[0]}"
        ) from None
    return flow


def save_preset(flow: Flow, directory: str | os.PathLike, metadata: dict | None = None) -> None:
    """Writes a preset directory; `Flow.save_to_preset` is the public name.

    Raises:
        ValueError: If the flow was not built from the registry, or the directory holds something else.
    """
    if flow.architecture is None:
        raise ValueError(
            "A preset names a registered architecture, and this flow was assembled by hand. Register a "
            "function that builds its layers (flowzoo.register_model), or use flow.save('flow.keras')."
        )
    directory = Path(directory)
    check_replaceable(directory)
    config = {
        "format": FORMAT,
        "flowzoo": __version__,
        "architecture": flow.architecture,
        "event_shape": list(flow.event_shape),
        "context_shape": None if flow.context_shape is None else list(flow.context_shape),
        "dtype": flow.dtype_policy.name,
        "options": flow.options,
    }
    with files.replacing_directory(directory) as beside:
        files.write_json(beside / CONFIG, config)
        # A twin that was never compiled, because Keras would store the optimizer's state as well.
        twin = type(flow).from_config(flow.get_config())
        twin.set_weights(flow.get_weights())
        twin.save_weights(beside / WEIGHTS)
        own = {"parameters": flow.count_params(), "weights_sha256": files.sha256(beside / WEIGHTS)}
        files.write_json(beside / METADATA, {**(metadata or {}), **own, "versions": versions()})


def check_replaceable(directory: Path) -> None:
    """Raises a ValueError if there is a directory that holds anything but a preset."""
    if not directory.exists():
        return
    config = files.read_json(directory / CONFIG) if (directory / CONFIG).is_file() else None
    is_preset = isinstance(config, dict) and {"architecture", "event_shape"} <= set(config)
    if not is_preset and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is no preset; choose another directory.")


def _load_keras(path: Path) -> Flow:
    import_tensorflow()
    import keras

    from flowzoo.flow import Flow

    try:
        flow = keras.saving.load_model(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be loaded: {_reason(error)}") from error
    if not isinstance(flow, Flow):
        raise ValueError(f"{path} holds a {type(flow).__name__}, not a flow.")
    return flow


def _reason(error: Exception) -> str:
    """The line that says what is wrong; Keras puts a model's whole configuration before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    causes = [line for line in lines if line.startswith("Exception encountered: ")]
    reason = causes[-1].removeprefix("Exception encountered: ") if causes else lines[0]
    return textwrap.shorten(reason, 300, placeholder=" ...")


def _bundled() -> dict[str, Entry]:
    return read_index(pretrained_directory() / INDEX)


def _fetch(registry: str | os.PathLike, name: str) -> Path:
    from flowzoo.remote import fetch_preset

    return fetch_preset(registry, name)


def _check_bundled(directory: Path) -> None:
    """Holds a bundled preset against the index; one from a registry was, when it was fetched."""
    entry = _bundled().get(directory.name) if directory.parent == pretrained_directory() else None
    for name, stamp in entry.files.items() if entry else ():
        problem = stamp.problem(directory / name)
        if problem is not None:
            raise ValueError(f"{directory / name} {problem}. Install flowzoo anew.")


def _read_config(path: Path) -> dict:
    config = files.read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no mapping; the file is damaged.")
    missing = {"format", "architecture", "event_shape", "context_shape", "dtype", "options"} - set(config)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; the file is damaged.")
    check_format(config["format"], str(path))
    if not isinstance(config["architecture"], str) or not isinstance(config["options"], dict):
        raise ValueError(f"{path}: architecture must be a name and options a mapping; the file is damaged.")
    _refuse_foreign(config["options"], path)
    return config


def _refuse_foreign(value: Any, path: Path) -> None:
    """Refuses whatever Keras would turn into an object that is not flowzoo's: a preset is data."""
    if isinstance(value, dict):
        if "class_name" in value and not _is_ours(value):
            shown = ".".join(str(value[key]) for key in ("module", "class_name") if value.get(key))
            raise ValueError(f"{path} names {shown}, which is no part of flowzoo; refused.")
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        _refuse_foreign(part, path)


def _is_ours(value: dict) -> bool:
    import keras

    from flowzoo import bases

    if value.get("module") == "keras" and value["class_name"] == "DTypePolicy":
        return True
    for name in bases.__all__:  # They are lazy, and register themselves with Keras when they are imported.
        getattr(bases, name)
    registered = keras.saving.get_registered_object(str(value.get("registered_name")))
    return registered is not None and registered.__module__.startswith("flowzoo.")


def _check_weights(directory: Path) -> None:
    weights, metadata = directory / WEIGHTS, directory / METADATA
    if not weights.is_file():
        raise ValueError(f"{weights} is missing; the preset is incomplete.")
    wanted = files.read_json(metadata).get("weights_sha256") if metadata.is_file() else None
    if wanted is not None and files.sha256(weights) != wanted:
        raise ValueError(f"{weights} is damaged: its sha256 is not the one in {metadata}.")
