"""flowzoo list: lists architectures, presets or data sets, one per line."""

from __future__ import annotations

from typing import Annotated

import typer

from flowzoo.cli.console import examples, print_table
from flowzoo.utils.metrics import main_metric

EXAMPLES = examples(
    "flowzoo list",
    "flowzoo list 'real*'",
    "flowzoo list --pretrained",
    "flowzoo list --registry https://host/zoo",
    "flowzoo list --data",
)


def run(
    pattern: Annotated[str, typer.Argument(help="Shell-style pattern, for example 'real*'.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="List presets.")] = False,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="List the presets of a registry: a URL or a directory.")
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="List data sets.")] = False,
) -> None:
    """Lists architectures, presets or data sets."""
    if (pretrained or registry is not None) and data:
        raise ValueError("--data cannot be combined with --pretrained or --registry; ask for one list.")
    if data:
        _list_data(pattern)
    elif registry is not None:
        _list_registry(registry, pattern)
    elif pretrained:
        _list_presets(pattern)
    else:
        _list_architectures(pattern)


def _list_architectures(pattern: str) -> None:
    from flowzoo.models._registry import list_models, model_info

    names = _matches(list_models(pattern), pattern, list_models())
    infos = [model_info(name) for name in names]
    rows = [(i.name, " or ".join(i.events), str(len(i.pretrained)), i.summary) for i in infos]
    print_table(("name", "events", "presets", "summary"), rows)


def _list_presets(pattern: str) -> None:
    from flowzoo.models._registry import list_models
    from flowzoo.storage.presets import preset_metadata

    known = list_models(pretrained=True)
    if not known:
        typer.echo("No presets are bundled with this version.", err=True)
        return
    names = _matches(list_models(pattern, pretrained=True), pattern, known)
    rows = [(name, *_measured(preset_metadata(name))) for name in names]
    print_table(("name", "test", "parameters"), rows)


def _list_registry(registry: str, pattern: str) -> None:
    import fnmatch

    from flowzoo.storage.remote import fetch_index

    entries = fetch_index(registry)
    if not entries:
        typer.echo(f"The registry {registry} is empty.", err=True)
        return
    names = _matches(sorted(fnmatch.filter(entries, pattern)), pattern, list(entries))
    sizes = {name: sum(stamp.size for stamp in entries[name].files.values()) for name in names}
    rows = [(name, entries[name].architecture, f"{sizes[name] / 2**20:.2f} MiB") for name in names]
    print_table(("name", "architecture", "size"), rows)


def _measured(metadata: dict) -> tuple[str, str]:
    test = metadata.get("test", {})
    parameters = f"{metadata.get('parameters', 0):,}"
    name, unit = main_metric(test)
    return f"{test[name]:.3f} {unit}" if name in test else "", parameters


def _list_data(pattern: str) -> None:
    from flowzoo.data import dataset_info, list_datasets

    names = _matches(list_datasets(pattern), pattern, list_datasets())
    infos = [dataset_info(name) for name in names]
    rows = [(i.name, "x".join(map(str, i.event_shape)), f"{i.splits['train']:,}", i.summary) for i in infos]
    print_table(("name", "shape", "rows", "summary"), rows)


def _matches(names: list[str], pattern: str, known: list[str]) -> list[str]:
    from flowzoo.utils.suggestions import did_you_mean

    if not names:
        raise ValueError(f"Nothing matches {pattern!r}. {did_you_mean(pattern, known)}")
    return names
