"""Preset directories: find, check, load, save; from_pretrained. Listing needs no TensorFlow."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo import files
from flowzoo._version import __version__
from flowzoo.provenance import versions
from flowzoo.registry import create_model, nearest

if TYPE_CHECKING:
    from flowzoo.flow import Flow

FORMAT = 1
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"


def pretrained_directory() -> Path:
    """Where the bundled presets are: inside the wheel, or at the top of the repository."""
    package = Path(__file__).parent
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def list_presets() -> list[str]:
    """Names of the bundled presets."""
    return [entry["name"] for entry in _index()]


def presets_of(architecture: str) -> list[str]:
    """Names of the bundled presets of one architecture."""
    return [entry["name"] for entry in _index() if entry["architecture"] == architecture]


def preset_metadata(name_or_directory: str | os.PathLike) -> dict:
    """The metadata of a preset: metrics, data, licence, versions."""
    return files.read_json(find_preset(name_or_directory) / METADATA)


def find_preset(name_or_directory: str | os.PathLike) -> Path:
    """The directory of a preset, given its name or the directory itself.

    Raises:
        ValueError: If there is none; the message names the nearest ones.
    """
    directory = Path(name_or_directory)
    if (directory / CONFIG).is_file():
        return directory
    name = os.fspath(name_or_directory)
    names = list_presets()
    if name in names:
        return pretrained_directory() / name
    if directory.is_dir():
        raise ValueError(f"{directory} is no preset: it has no {CONFIG}.")
    hint = nearest(name, names) if names else "No presets are bundled with this version."
    raise ValueError(f"There is no preset {name!r}, nor a directory of that name. {hint}")


def find_flow(name_or_path: str | os.PathLike) -> Path:
    """What `from_pretrained` loads: the directory of a preset, or a ``.keras`` file.

    Raises:
        ValueError: If there is neither; the message names the nearest presets.
    """
    path = Path(name_or_path)
    if path.suffix != ".keras":
        return find_preset(name_or_path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    return path


def from_pretrained(name_or_directory: str | os.PathLike) -> Flow:
    """Loads a flow.

    Args:
        name_or_directory: Name of a bundled preset (see ``list_models(pretrained=True)``), a directory
            that `Flow.save_to_preset` wrote, or a ``.keras`` file that `Flow.save` wrote.

    Returns:
        The flow, with its weights, ready for `log_prob`, `sample`, `fit` and `export`.

    Raises:
        ValueError: If there is no such preset, or its files are damaged; the message names the file.

    Example:
        >>> import tempfile, flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), couplings=2)
        >>> directory = tempfile.mkdtemp() + "/mine"
        >>> flow.save_to_preset(directory)
        >>> flowzoo.from_pretrained(directory).event_shape
        (2,)
    """
    directory = find_flow(name_or_directory)
    if directory.suffix == ".keras":
        return _load_keras(directory)
    config = _read_config(directory / CONFIG)
    _check_weights(directory)
    flow = create_model(
        config["architecture"],
        config["event_shape"],
        config["context_shape"],
        dtype=config["dtype"],
        **config["options"],
    )
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
    if directory.exists() and not (directory / CONFIG).is_file() and any(directory.iterdir()):
        raise ValueError(f"{directory} exists and is no preset; choose another directory.")
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


def _load_keras(path: Path) -> Flow:
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


def _index() -> list[dict]:
    index = pretrained_directory() / "index.json"
    return files.read_json(index)["presets"] if index.is_file() else []


def _read_config(path: Path) -> dict:
    config = files.read_json(path)
    missing = {"format", "architecture", "event_shape", "context_shape", "dtype", "options"} - set(config)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; the file is damaged.")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {config['format']}, this flowzoo ({__version__}) reads up to {FORMAT}. "
            "Upgrade flowzoo."
        )
    return config


def _check_weights(directory: Path) -> None:
    weights, metadata = directory / WEIGHTS, directory / METADATA
    if not weights.is_file():
        raise ValueError(f"{weights} is missing; the preset is incomplete.")
    wanted = files.read_json(metadata).get("weights_sha256") if metadata.is_file() else None
    if wanted is not None and files.sha256(weights) != wanted:
        raise ValueError(f"{weights} is damaged: its sha256 is not the one in {metadata}.")
