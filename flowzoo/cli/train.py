"""flowzoo train: runs a recipe, zoo_configs/*.yaml or a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowzoo.cli.common import DataDir, NoDownload, Strategy, check_model
from flowzoo.cli.console import examples
from flowzoo.cli.quiet import import_tensorflow
from flowzoo.utils.metrics import describe_metrics

if TYPE_CHECKING:
    import tensorflow as tf

    from flowzoo.recipes.config import ZooConfig

EXAMPLES = examples(
    "flowzoo train zoo_configs/realnvp_mnist.yaml",
    "flowzoo train my.yaml --out runs/try --set training.epochs=5 --set model.options.levels=1",
)


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe: a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Run directory; runs/NAME by default, with the name of the recipe.")
    ] = None,
    data_dir: DataDir = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; may be repeated."),
    ] = None,
    strategy: Strategy = "none",
    no_download: NoDownload = False,
) -> None:
    """Trains the flow of a recipe.

    Writes weights, a preset, metrics, TensorBoard logs, a training curve and samples to the run directory. To
    resume a stopped run, give the same command again.
    """
    from flowzoo.recipes.config import load_config
    from flowzoo.recipes.distribution import check_strategy, make_strategy

    check_strategy(strategy)
    recipe = load_config(config, overrides or [])
    check_model(recipe.model.name, recipe.model.options)
    import_tensorflow()
    train_recipe(recipe, out, data_dir, download=not no_download, strategy=make_strategy(strategy))


def train_recipe(
    recipe: ZooConfig,
    out: Path | None,
    data_dir: Path | None,
    *,
    download: bool,
    strategy: tf.distribute.Strategy | None,
) -> None:
    """Trains, and prints the devices, the test metrics and the files of the run."""
    from flowzoo.recipes import distribution, train
    from flowzoo.recipes.trainer import is_finished

    run_dir = out or Path("runs") / recipe.name
    typer.echo(f"devices: {distribution.describe_devices(strategy)}")
    was_finished = is_finished(run_dir)
    metrics = train(
        recipe,
        run_dir,
        data_dir=None if data_dir is None else str(data_dir),
        download=download,
        strategy=strategy,
    )
    if not distribution.is_chief(strategy):
        return
    if was_finished:
        typer.echo(f"{run_dir} already holds this run. To train again, delete it or choose another --out.")
    typer.echo(f"test: {describe_metrics(metrics['test'])}")
    written = sorted(p.name + "/" * p.is_dir() for p in run_dir.iterdir() if p.name[0] != ".")
    typer.echo(f"{'found' if was_finished else 'wrote'} {run_dir}: {', '.join(written)}")
    typer.echo(f"next: flowzoo sample {run_dir}")
