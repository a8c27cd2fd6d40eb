"""index.json: the presets of a directory or a registry, with size and sha256 of each file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowzoo._version import __version__
from flowzoo.storage import files

FORMAT = 1
INDEX = "index.json"
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
CARD, PICTURE = "README.md", "samples.png"
NEEDED, FILES = (CONFIG, WEIGHTS, METADATA), (CONFIG, WEIGHTS, METADATA, CARD, PICTURE)


@dataclass(frozen=True)
class Stamp:
    """Expected size and digest of a file.

    Attributes:
        size: Size in bytes.
        sha256: Hex digest.
    """

    size: int
    sha256: str

    def problem(self, path: Path) -> str | None:
        """What is wrong with a file, or None if it matches."""
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != self.size:
            return f"has {path.stat().st_size:,} bytes, not {self.size:,}"
        if files.sha256(path) != self.sha256:
            return f"is damaged: its sha256 is not the one in {INDEX}"
        return None


@dataclass(frozen=True)
class Entry:
    """One preset of an index.

    Attributes:
        name: Name of the preset and of its directory.
        architecture: Registry name of the architecture.
        files: Expected size and digest of each file, by file name.
    """

    name: str
    architecture: str
    files: dict[str, Stamp]


def read_index(path: Path) -> dict[str, Entry]:
    """The presets of an index by name; empty if the file does not exist.

    Raises:
        ValueError: If the file is damaged, has a newer format, or lists a file that a preset does not have.
    """
    return parse_index(files.read_json(path), str(path)) if path.is_file() else {}


def parse_index(content: Any, where: str) -> dict[str, Entry]:
    """Like `read_index`, but of parsed JSON; the messages name `where`."""
    if not isinstance(content, dict) or not isinstance(content.get("presets"), list):
        raise ValueError(f"{where} is not an index of presets; the file is damaged.")
    check_format(content.get("format"), where)
    entries = [_entry(item, where) for item in content["presets"]]
    return {entry.name: entry for entry in entries}


def check_format(number: Any, where: str) -> None:
    """Rejects formats that this version cannot read.

    Raises:
        ValueError: If the format is newer, or not a number.
    """
    if not isinstance(number, int):
        raise ValueError(f"{where} has format {number!r}, which is not a number; the file is damaged.")
    if number > FORMAT:
        raise ValueError(
            f"{where} has format {number}, but this flowzoo ({__version__}) reads up to {FORMAT}. "
            "Upgrade flowzoo."
        )


def check_name(name: Any, where: str) -> str:
    """Returns a preset's name if it is safe as the name of a directory.

    Raises:
        ValueError: If it is not a valid name.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise ValueError(f"{where}: {name!r} is not a valid preset name; use letters, digits, - and _.")
    return name


def describe_preset(directory: Path) -> dict:
    """A preset's entry in index.json, from its files."""
    present = [directory / name for name in FILES if (directory / name).is_file()]
    return {
        "name": check_name(directory.name, str(directory)),
        "architecture": files.read_json(directory / CONFIG)["architecture"],
        "files": {path.name: {"size": path.stat().st_size, "sha256": files.sha256(path)} for path in present},
    }


def _entry(item: Any, where: str) -> Entry:
    if not isinstance(item, dict) or not isinstance(item.get("files"), dict):
        raise ValueError(f"{where} holds an entry without files; the file is damaged.")
    name = check_name(item.get("name"), where)
    architecture, stamps = item.get("architecture"), item["files"]
    strangers = set(stamps) - set(FILES)
    if strangers:
        raise ValueError(
            f"{where}: {name} lists {min(strangers)!r}, which is not a file of a preset; refused."
        )
    whole = set(NEEDED) <= set(stamps) and all(map(_is_stamp, stamps.values()))
    if not whole or not isinstance(architecture, str):
        raise ValueError(f"{where}: the entry of {name} is incomplete; the file is damaged.")
    return Entry(name, architecture, {key: Stamp(s["size"], s["sha256"]) for key, s in stamps.items()})


def _is_stamp(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("size"), int)
        and isinstance(value.get("sha256"), str)
        and re.fullmatch("[0-9a-f]{64}", value["sha256"]) is not None
    )
