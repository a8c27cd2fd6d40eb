"""flowzoo info: an architecture's paper and options, or a preset's metadata."""

from __future__ import annotations

from typing import Annotated

import typer

from flowzoo.cli.console import examples, print_nested, print_table

EXAMPLES = examples("flowzoo info realnvp", "flowzoo info runs/mine/preset")


def run(
    name: Annotated[str, typer.Argument(help="An architecture, or a preset: name, URL or directory.")],
) -> None:
    """Describes an architecture or a preset.

    For an architecture: paper, options with defaults, presets. For a preset: its metadata.
    """
    import os
    from pathlib import Path

    from flowzoo.models._registry import list_models
    from flowzoo.storage.presets import REGISTRY_VARIABLE, list_presets
    from flowzoo.utils.suggestions import did_you_mean

    architectures, presets = list_models(), list_presets()
    elsewhere = "://" in name or os.environ.get(REGISTRY_VARIABLE)
    if name in architectures:
        _describe_architecture(name)
    elif name in presets or elsewhere or Path(name).is_dir():
        _describe_preset(name)
    else:
        raise ValueError(
            f"There is no architecture or preset {name!r}. {did_you_mean(name, [*architectures, *presets])}"
        )


def _describe_architecture(name: str) -> None:
    from flowzoo.models._registry import model_info

    info = model_info(name)
    print_nested(
        {
            "name": info.name,
            "summary": info.summary,
            "paper": info.paper,
            "url": info.url,
            "events": " or ".join(info.events),
            "presets": ", ".join(info.pretrained) or "none",
        }
    )
    typer.echo()
    only = dict.fromkeys(info.vector_options, "vectors") | dict.fromkeys(info.image_options, "images")
    rows = [(key, str(value), only.get(key, "all")) for key, value in info.options.items()]
    print_table(("option", "default", "used for"), rows)


def _describe_preset(name: str) -> None:
    from flowzoo.storage import files
    from flowzoo.storage.presets import find_preset
    from flowzoo.storage.registry import CONFIG, METADATA

    directory = find_preset(name)
    config = files.read_json(directory / CONFIG)
    print_nested({"directory": str(directory), **config})
    if (directory / METADATA).is_file():
        print_nested(files.read_json(directory / METADATA))
