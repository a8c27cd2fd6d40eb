"""The manifest of an exported version, with a fingerprint of every file. Needs no TensorFlow."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo._version import __version__
from flowzoo.storage import files
from flowzoo.storage.versions import version_directories

if TYPE_CHECKING:
    from flowzoo.density import Density

FILE_NAME = "flowzoo_manifest.json"
FORMAT = 1
UNITS = {
    "log_prob": "nats, density of the raw data",
    "bits_per_dim": "bits per dimension of the raw data",
    "x": "raw data",
    "z": "latents",
    "temperature": "factor of the base's noise",
}


def write_manifest(density: Density, signatures: dict, sizes: list[int], directory: Path) -> None:
    """Writes ``flowzoo_manifest.json`` for all files in the directory; call it last.

    Args:
        density: The exported density.
        signatures: Result of `signatures.describe`.
        sizes: Batch sizes of the warm-up.
        directory: The version's directory.
    """
    named = {name for s in signatures.values() for tensors in s.values() for name in tensors}
    manifest = {
        "format": FORMAT,
        "flowzoo": __version__,
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "architecture": density.architecture,
        "event_shape": list(density.event_shape),
        "context_shape": None if density.context_shape is None else list(density.context_shape),
        "columns": None if density.columns is None else list(density.columns),
        "signatures": signatures,
        "units": {name: unit for name, unit in UNITS.items() if name in named},
        "batch_sizes": sizes,
        "files": {name: _fingerprint(directory / name) for name in _names(directory)},
    }
    files.write_json(directory / FILE_NAME, manifest)


def read_manifest(directory: str | os.PathLike) -> dict:
    """The manifest of a version's directory.

    Raises:
        ValueError: If there is no manifest, or it is damaged.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        raise ValueError(
            f"{directory} has no {FILE_NAME}: flowzoo did not export it, or the copy is incomplete."
        )
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError(f"{path} lists no files; the file is damaged.")
    if manifest.get("format", 0) > FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']}, but this flowzoo ({__version__}) reads up to {FORMAT}. "
            "Upgrade flowzoo."
        )
    return manifest


def verify_export(directory: str | os.PathLike) -> Path:
    """Checks that an exported version has exactly the files of its manifest, all unchanged.

    It finds damage, such as an incomplete copy or a flipped byte. It is not a cryptographic signature: anyone
    who can change a file can also change the manifest.

    Args:
        directory: A version's directory, or the model's base directory for its newest version.

    Returns:
        The version's directory.

    Raises:
        ValueError: If a file is changed, missing or extra (the message names each), or there is no version
            or no manifest.

    Example:
        >>> import tempfile, flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), steps=2)
        >>> path = flow.export(tempfile.mkdtemp())
        >>> verify_export(path.parent).name
        '1'
    """
    version_dir = _version_directory(Path(directory))
    listed, found = read_manifest(version_dir)["files"], _names(version_dir)
    both = [name for name in found if name in listed]
    problems = {
        "changed": [name for name in both if _fingerprint(version_dir / name) != listed[name]],
        "missing": sorted(set(listed) - set(found)),
        "extra": sorted(set(found) - set(listed)),
    }
    wrong = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if wrong:
        raise ValueError(
            f"{version_dir} differs from its {FILE_NAME}. {'; '.join(wrong)}. Copy or export it again."
        )
    return version_dir


def is_export(directory: Path) -> bool:
    """Whether a directory is a version that flowzoo exported: a real one, with a manifest."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    try:
        return "flowzoo" in read_manifest(directory)
    except (ValueError, OSError):  # Another exporter may be removing it.
        return False


def _version_directory(directory):
    if not directory.is_dir():
        raise ValueError(f"There is no directory {directory}.")
    if (directory / FILE_NAME).is_file() or (directory / "saved_model.pb").is_file():
        return directory
    versions = version_directories(directory)
    if not versions:
        raise ValueError(
            f"{directory} holds no exported version: it has no {FILE_NAME} and no folder 1, 2, ..."
        )
    return versions[-1]


def _names(directory):
    """Relative POSIX paths of all files except the manifest."""
    paths = sorted(path for path in directory.rglob("*") if not path.is_dir())
    return [name for path in paths if (name := path.relative_to(directory).as_posix()) != FILE_NAME]


def _fingerprint(path):
    return {"sha256": files.sha256(path), "size": path.stat().st_size}
