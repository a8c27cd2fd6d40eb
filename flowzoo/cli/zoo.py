"""flowzoo zoo: publish a run as a preset, build a zoo's index and table, verify what its cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowzoo.cli.common import DataDir, NoDownload
from flowzoo.cli.console import RICH_HELP, examples, print_table
from flowzoo.cli.quiet import import_tensorflow

app = typer.Typer(
    help="Keeps a zoo: publish, build, verify.",
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
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Where flowzoo train wrote.")],
    to: Annotated[
        str, typer.Option(metavar="REGISTRY", help="A directory, or a URL: gs://, s3://, file://.")
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="The run's recipe, if its card was written after the run.")
    ] = None,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Writes the flow of a run as a preset.

    It is measured on the test data, and gets a card and a picture. Weights are stored as float16 where that
    moves the test metric by less than 0.001.
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
    directory: Annotated[Path, typer.Argument(help="Of the presets.")] = Path("pretrained"),
    table: Annotated[Path, typer.Option(help="The page with a line for each preset.")] = Path("docs/zoo.md"),
) -> None:
    """Writes cards, index.json and the table.

    From the presets' metadata, and nothing else.
    """
    from flowzoo.zoo import build

    if not directory.is_dir():
        raise ValueError(f"There is no directory {directory}; name that of the presets.")
    typer.echo(f"{len(build(directory, table))} presets: {directory / 'index.json'}, {table}")


@app.command(epilog=examples("flowzoo zoo verify nsf_checkerboard", "flowzoo zoo verify --all"))
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Presets: names, URLs or directories.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All bundled presets.")] = False,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Measures presets on their test data again.

    The exit code is 1 if a card says otherwise. Data that came from a file are looked for where the recipe
    says, from the current directory.
    """
    from flowzoo.storage.presets import find_preset, list_presets

    if every == bool(names):
        raise ValueError("Name presets to verify, or give --all.")
    wanted = list_presets() if every else names or []
    for name in wanted:
        find_preset(name)  # A mistake is told before TensorFlow is imported.
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
