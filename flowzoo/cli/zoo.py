"""flowzoo zoo: publishes a run as a preset, builds a zoo's index and table, and verifies its cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowzoo.cli.common import DataDir, NoDownload
from flowzoo.cli.console import RICH_HELP, examples, print_table
from flowzoo.cli.quiet import import_tensorflow

app = typer.Typer(
    help="Maintains a zoo: publish, build, verify.",
    rich_markup_mode="rich" if RICH_HELP else None,
)
DISAGREES = 1


@app.command(
    epilog=examples(
        "flowzoo zoo publish runs/nsf_checkerboard --to pretrained",
        "flowzoo zoo publish runs/mine --to gs://bucket/zoo",
    )
)
def publish(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory of flowzoo train.")],
    to: Annotated[
        str, typer.Option(metavar="REGISTRY", help="A directory, or a URL: gs://, s3://, file://.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe with a card that was written after the run; by default the run's own."),
    ] = None,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Writes the flow of a run as a preset.

    Measures the flow on the test data, and adds a card and a picture. Weights are stored as float16 if that
    changes the test metric by less than 0.001.
    """
    import_tensorflow()
    from flowzoo.utils.metrics import with_error
    from flowzoo.zoo import publish

    metadata = publish(run_dir, to, recipe=recipe, data_dir=data_dir, download=not no_download)
    typer.echo(
        f"published {metadata['name']} to {to}: {with_error(metadata['test'])}, {metadata['weights_dtype']}"
    )


@app.command(epilog=examples("flowzoo zoo build", "flowzoo zoo build /mnt/zoo --table /mnt/zoo/README.md"))
def build(
    directory: Annotated[Path, typer.Argument(help="Directory of the presets.")] = Path("pretrained"),
    table: Annotated[Path, typer.Option(help="Page with one line per preset.")] = Path("docs/zoo.md"),
) -> None:
    """Writes cards, index.json and the table.

    The only input is the metadata of the presets.
    """
    from flowzoo.zoo import build

    if not directory.is_dir():
        raise ValueError(f"There is no directory {directory}; give the directory of the presets.")
    typer.echo(f"{len(build(directory, table))} presets: {directory / 'index.json'}, {table}")


@app.command(epilog=examples("flowzoo zoo verify nsf_checkerboard", "flowzoo zoo verify --all"))
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Presets: names, URLs or directories.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify all bundled presets.")] = False,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Measures presets on their test data again.

    The exit code is 1 if a result differs from its card. A relative path of a data file in the recipe is
    looked up in the current directory.
    """
    from flowzoo.storage.presets import find_preset, list_presets

    if every == bool(names):
        raise ValueError("Name presets to verify, or give --all.")
    wanted = list_presets() if every else names or []
    for name in wanted:
        find_preset(name)  # Reports a mistake before TensorFlow is imported.
    import_tensorflow()
    rows = [_verified(name, data_dir, no_download) for name in wanted]
    print_table(("preset", "card", "measured", "verdict"), rows)
    if any(row[-1] != "agrees" for row in rows):
        raise typer.Exit(DISAGREES)


def _verified(name: str, data_dir: Path | None, no_download: bool) -> tuple[str, str, str, str]:
    from flowzoo.utils.metrics import with_error
    from flowzoo.zoo import verify

    try:
        card, measured, agrees = verify(name, data_dir=data_dir, download=not no_download)
    except FileNotFoundError as error:
        # The others can still be measured.
        return name, "", "", f"no data: {error}"
    return name, with_error(card), with_error(measured), "agrees" if agrees else "differs"
