"""Code that several commands share: parameters, loading MODEL, and parsing key=value options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowzoo.cli.quiet import import_tensorflow
from flowzoo.utils.yaml_values import parse_yaml

if TYPE_CHECKING:
    from flowzoo.flow import Flow

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Name or URL of a preset, a preset or run directory, or a .keras file."
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Name of a data set (flowzoo list --data), or a file or glob: .npy, .npz, .csv, "
        ".parquet, .tfrecord.",
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Data directory of TensorFlow Datasets.")]
NoDownload = Annotated[bool, typer.Option("--no-download", help="Never fetch data from the network.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="Columns of the file to use, in this order; all by default."),
]
Strategy = Annotated[
    str,
    typer.Option(
        help="Distribute the training: none, mirrored (the GPUs of this machine) or multi_worker (the "
        "machines that TF_CONFIG names)."
    ),
]
Missing = Annotated[
    str,
    typer.Option(
        help="How to treat missing values of a file: error, drop (the row), or mean (fill in the column's "
        "mean over the training rows)."
    ),
]
ContextColumns = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="For a conditional flow: columns of the file that hold the context. For images in an .npz, "
        'leave it out: the array "y" holds the classes.',
    ),
]


def load_flow(model: str) -> Flow:
    """Loads the flow of MODEL: a preset's name or URL, a preset or run directory, or a .keras file.

    A mistake in the name is reported before TensorFlow is imported, which takes seconds.

    Raises:
        ValueError: If there is no such preset, or the file holds no flow.
    """
    from flowzoo.models._pretrained import from_pretrained
    from flowzoo.storage.presets import find_flow

    path = find_flow(model)
    import_tensorflow()
    return from_pretrained(path)


def check_model(name: str, options: dict[str, Any]) -> None:
    """Checks the architecture and its options without TensorFlow, and before data are read.

    Raises:
        ValueError: If one is unknown; the message names the nearest ones.
    """
    from flowzoo.models._factory import COMMON_OPTIONS, upgrade_options
    from flowzoo.models._registry import find_entry

    upgrade_options(find_entry(name), {key: options[key] for key in options if key not in COMMON_OPTIONS})


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Parses ``["steps=8", "hidden_units=[64,64]"]`` into keyword arguments; values are YAML.

    Raises:
        ValueError: If a pair has no "=", or its value is not YAML.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"--option expects key=value, for example steps=8; got {pair!r}.")
        options[key.strip().replace("-", "_")] = parse_yaml(value, f"The value of --option {pair!r}")
    return options


def parse_columns(columns: str | None) -> list[str] | None:
    """Parses ``"a, b"`` into ``["a", "b"]``.

    Raises:
        ValueError: If a name between two commas is empty.
    """
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",")]
    if not all(names):
        raise ValueError(f"--columns expects names separated by commas; got {columns!r}.")
    return names


def columns_of(model: str) -> list[str | int] | None:
    """The columns of a file that a flow was fitted to, by name or position; None for all columns."""
    from flowzoo.data.formats.columns import as_list
    from flowzoo.storage.presets import find_flow, preset_metadata, read_config

    recipe = Path(model).expanduser() / "config.yaml"
    if recipe.is_file():
        from flowzoo.recipes.config import load_config

        return as_list(load_config(recipe).data.columns)
    path = find_flow(model)
    if path.suffix == ".keras":
        return _columns_of_keras(path)
    return read_config(path).get("columns") or as_list(preset_metadata(path).get("columns"))


def _columns_of_keras(path: Path) -> list[str | int] | None:
    """The columns in a ``.keras`` file's configuration; None if it has none, or is damaged."""
    import json
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["config"].get("columns")
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, AttributeError, TypeError):
        return None
