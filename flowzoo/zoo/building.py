"""build: a zoo's cards, its index.json and its table, from the presets' own files and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from flowzoo.storage import files
from flowzoo.storage.registry import CARD, CONFIG, FORMAT, INDEX, METADATA, WEIGHTS, describe_preset
from flowzoo.utils.metrics import with_error
from flowzoo.zoo.card import card, duration, published

HEAD = """# The zoo

Written by `flowzoo zoo build` from each preset's metadata.json; do not edit. Test metrics are negative
log-likelihoods of the whole test split, with their standard errors; lower is better.
`flowzoo zoo verify NAME` measures them again.

"""
COLUMNS = ("preset", "data", "test", "published", "parameters", "weights", "trained")


def build(directory: str | os.PathLike, table: str | os.PathLike | None = None) -> list[str]:
    """Writes each preset's README.md, then index.json, then the table.

    Args:
        directory: Of the presets.
        table: Of the page; None for none.

    Returns:
        Names of the presets.

    Raises:
        ValueError: If a preset's files are damaged, or `flowzoo zoo publish` did not write it.
    """
    directory = Path(directory)
    for path, text in _cards(directory).items():
        _write(path, text)
    _write(directory / INDEX, index_text(directory))
    if table is not None:
        _write(Path(table), table_text(directory, Path(table).parent))
    return [path.name for path in _presets(directory)]


def stale(directory: str | os.PathLike, table: str | os.PathLike) -> list[Path]:
    """Which files `build` would change."""
    directory, table = Path(directory), Path(table)
    wanted = _cards(directory)
    wanted |= {directory / INDEX: index_text(directory), table: table_text(directory, table.parent)}
    return [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]


def index_text(directory: Path) -> str:
    """The content of index.json."""
    content = {"format": FORMAT, "presets": [describe_preset(path) for path in _presets(directory)]}
    return json.dumps(content, indent=2) + "\n"


def table_text(directory: Path, seen_from: Path) -> str:
    """The page with a line for each preset; links are relative to where it lies."""
    lines = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    for path in _presets(directory):
        metadata = _metadata(path)
        link = Path(os.path.relpath(path / CARD, seen_from)).as_posix()
        lines.append(
            _row(
                [
                    f"[{path.name}]({link})",
                    Path(metadata["data"]["source"]).name,
                    with_error(metadata["test"]),
                    published(metadata),
                    f"{metadata['parameters']:,}",
                    f"{(path / WEIGHTS).stat().st_size / 2**20:.2f} MiB",
                    f"{duration(metadata['training_seconds'])}, {metadata['machine']}",
                ]
            )
        )
    return HEAD + "\n".join(lines) + "\n"


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _presets(directory):
    """The directories of presets; hidden ones are being written."""
    found = [path for path in directory.iterdir() if (path / CONFIG).is_file() and path.name[0] != "."]
    return sorted(found, key=lambda path: path.name)


def _cards(directory):
    return {
        path / CARD: card(files.read_json(path / CONFIG), _metadata(path)) for path in _presets(directory)
    }


def _metadata(path):
    metadata = files.read_json(path / METADATA)
    missing = {"name", "recipe", "data", "test", "weights_dtype"} - set(metadata)
    if missing:
        raise ValueError(
            f"{path / METADATA} lacks {', '.join(sorted(missing))}: write presets of a zoo with "
            "flowzoo zoo publish."
        )
    return metadata


def _write(path, text):
    with files.replacing(path) as beside:
        beside.write_text(text)
