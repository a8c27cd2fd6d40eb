"""Finds, checks and writes preset directories. Needs no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flowzoo._version import __version__
from flowzoo.storage import files, remote
from flowzoo.storage.provenance import versions
from flowzoo.storage.registry import CONFIG, FORMAT, INDEX, METADATA, WEIGHTS, Entry, check_format, read_index
from flowzoo.utils.suggestions import did_you_mean

REGISTRY_VARIABLE = "FLOWZOO_REGISTRY"
_CONFIG_KEYS = {"format", "architecture", "event_shape", "context_shape", "dtype", "options"}


# -- finding ---------------------------------------------------------------------------------
def pretrained_directory() -> Path:
    """Directory of the bundled presets: inside the wheel, or at the top of the repository."""
    package = Path(__file__).parents[1]
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
    """The directory of a preset, given its name, its URL, the directory itself, or a run directory.

    See `flowzoo.from_pretrained` for the search order.

    Raises:
        ValueError: If there is no such preset; the message names the closest ones.
        OSError: If a registry cannot be read.
    """
    name = os.fspath(name_or_directory)
    if registry is not None:
        return remote.fetch_preset(registry, name)
    if "://" in name:
        where, _, last = name.rstrip("/").rpartition("/")
        return remote.fetch_preset(where, last)
    directory = Path(name_or_directory).expanduser()
    for preset in (directory, directory / "preset"):  # A run directory holds its preset in preset/.
        if (preset / CONFIG).is_file():
            return preset
    names = list_presets()
    if name in names:
        return pretrained_directory() / name
    if directory.is_dir():
        raise ValueError(f"{directory} is not a preset: it has no {CONFIG}.")
    if os.environ.get(REGISTRY_VARIABLE):
        return remote.fetch_preset(os.environ[REGISTRY_VARIABLE], name)
    hint = did_you_mean(name, names) if names else "No presets are bundled with this version."
    raise ValueError(f"There is no preset {name!r}, and no directory of that name. {hint}")


def find_flow(name_or_path: str | os.PathLike, registry: str | os.PathLike | None = None) -> Path:
    """What `flowzoo.from_pretrained` loads: the directory of a preset, or a ``.keras`` file.

    Raises:
        ValueError: If neither exists; the message names the closest presets.
        OSError: If a registry cannot be read.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".keras":
        return find_preset(name_or_path, registry)
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    return path


def _bundled() -> dict[str, Entry]:
    return read_index(pretrained_directory() / INDEX)


# -- checking --------------------------------------------------------------------------------
def read_config(directory: Path) -> dict:
    """The configuration of a preset, checked to have every key.

    Raises:
        ValueError: If the file is damaged or has a newer format.
    """
    path = directory / CONFIG
    config = files.read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} does not hold a mapping; the file is damaged.")
    missing = _CONFIG_KEYS - set(config)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; the file is damaged.")
    check_format(config["format"], str(path))
    if not isinstance(config["architecture"], str) or not isinstance(config["options"], dict):
        raise ValueError(f"{path}: architecture must be a name and options a mapping; the file is damaged.")
    return config


def check_bundled(directory: Path) -> None:
    """Compares a bundled preset with the index; a registry's presets were compared when they were fetched.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    entry = _bundled().get(directory.name) if directory.parent == pretrained_directory() else None
    for name, stamp in entry.files.items() if entry else ():
        problem = stamp.problem(directory / name)
        if problem is not None:
            raise ValueError(f"{directory / name} {problem}. Install flowzoo again.")


def check_digests(directory: Path) -> None:
    """Compares the weights and the configuration of a preset with the digests in its metadata.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    weights, metadata = directory / WEIGHTS, directory / METADATA
    if not weights.is_file():
        raise ValueError(f"{weights} is missing; the preset is incomplete.")
    about = files.read_json(metadata) if metadata.is_file() else {}
    if not isinstance(about, dict):
        raise ValueError(f"{metadata} does not hold a mapping; the file is damaged.")
    for path, key in ((weights, "weights_sha256"), (directory / CONFIG, "config_sha256")):
        # Presets of 0.1 have no digest of the configuration.
        if key in about and files.sha256(path) != about[key]:
            raise ValueError(f"{path} is damaged: its sha256 is not the one in {metadata}.")


# -- writing ---------------------------------------------------------------------------------
def write_preset(flow: Any, directory: str | os.PathLike, metadata: dict | None = None) -> None:
    """Writes a preset directory; `Flow.save_to_preset` is the public name.

    Raises:
        ValueError: If the flow was not built from the registry, or the directory holds anything but a preset.
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
        "columns": None if flow.columns is None else list(flow.columns),
    }
    with files.replacing_directory(directory) as beside:
        files.write_json(beside / CONFIG, config)
        # An uncompiled copy, because Keras would store the optimizer's state of a compiled flow as well.
        twin = type(flow).from_config(flow.get_config())
        twin.set_weights(flow.get_weights())
        twin.save_weights(beside / WEIGHTS)
        own = {
            "parameters": flow.count_params(),
            "weights_sha256": files.sha256(beside / WEIGHTS),
            "config_sha256": files.sha256(beside / CONFIG),
        }
        files.write_json(beside / METADATA, {**(metadata or {}), **own, "versions": versions()})


def check_replaceable(directory: Path) -> None:
    """Raises a ValueError if the path exists and is neither a preset nor an empty directory."""
    if not directory.exists():
        return
    config = files.read_json(directory / CONFIG) if (directory / CONFIG).is_file() else None
    is_preset = isinstance(config, dict) and {"architecture", "event_shape"} <= set(config)
    if not is_preset and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not a preset; choose another directory.")
