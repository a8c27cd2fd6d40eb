"""flowzoo fit: trains a flow on a user's data in one command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowzoo.cli.common import (
    Columns,
    Data,
    DataDir,
    Missing,
    NoDownload,
    Strategy,
    check_model,
    parse_columns,
    parse_options,
)
from flowzoo.cli.console import examples
from flowzoo.cli.quiet import import_tensorflow
from flowzoo.cli.rows import Request, absolute, is_file
from flowzoo.cli.train import train_recipe
from flowzoo.utils.sizes import batch_size_for

if TYPE_CHECKING:
    from flowzoo.data import DatasetInfo, FileInfo
    from flowzoo.recipes.config import ZooConfig

EXAMPLES = examples(
    "flowzoo fit rows.csv --columns height,weight --out runs/people",
    "flowzoo fit two_moons --option steps=12 --option hidden_units=[64,64] --epochs 10",
    "flowzoo fit counts.parquet --dequantize 1",
)

LEAST_ROWS = 32


def run(
    data: Data,
    model: Annotated[str, typer.Option(help="An architecture; see flowzoo list.")] = "realnvp",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the architecture; see flowzoo info. May be repeated.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Maximum number of passes over the rows.")] = 20,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows per step; by default chosen from the number of rows.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=1e-8, help="Peak learning rate.")] = 1e-3,
    dequantize: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Step of discrete data, 1 for whole numbers. One step per column: "
            "--option dequantize=[1,0.01,0].",
        ),
    ] = None,
    columns: Columns = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/MODEL_DATA by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights, of dropout and of the order of rows.")] = 0,
    missing: Missing = "error",
    strategy: Strategy = "none",
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Fits a flow to your data.

    Saves the weights of the best epoch as a preset. The rows of a file are split by a hash of their
    values: 80% for training, 10% to choose the epoch, 10% for the test. To resume a stopped run, give the
    same command again.
    """
    from flowzoo.recipes.distribution import check_strategy, make_strategy

    options = parse_options(option or [])
    if dequantize is not None:
        options["dequantize"] = dequantize
    check_model(model, options)
    request = Request(data, "train", parse_columns(columns), None, data_dir, not no_download)
    request.check()
    check_strategy(strategy)
    import_tensorflow()
    from flowzoo.data import dataset_info

    # Several workers must connect before TensorFlow does anything else.
    devices = make_strategy(strategy)
    rows, is_image, names = _look_at(request, missing)
    request = replace(request, columns=names)
    if is_image and not is_file(data):
        options.setdefault("pixel_levels", dataset_info(data).pixel_levels)
    recipe = _recipe(
        {"name": model, "options": options},
        _data_section(request, rows, is_image, batch_size) | {"missing": missing},
        {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "clip_norm": 1.0 if is_image else 5.0,
            "patience": max(5, epochs // 5),
        },
        seed,
    )
    train_recipe(recipe, out, data_dir, download=not no_download, strategy=devices)


def _look_at(request: Request, missing: Any) -> tuple[int, bool, Sequence[str | int] | None]:
    """Number of training rows, whether they are images, and the columns: by name, if the file has names."""
    from flowzoo.data import dataset_info, describe_file, load

    if not is_file(request.data):
        info = dataset_info(request.data)
        return _splits(info)[0], len(info.event_shape) == 3, None
    found = describe_file(request.data, request.columns)
    rows = int(
        load(request.data, "train", columns=request.columns, missing=missing, cache=False).cardinality()
    )
    return rows, len(found.event_shape) == 3, request.columns or _names(found)


def _data_section(request: Request, rows: int, is_image: bool, batch_size: int | None) -> dict[str, Any]:
    if rows < LEAST_ROWS:
        raise ValueError(f"{request.data} has {rows} training rows; a flow needs at least {LEAST_ROWS}.")
    if batch_size is not None and batch_size > rows:
        raise ValueError(f"--batch-size {batch_size} is more than the {rows} training rows.")
    section = {
        "source": absolute(request.data),
        "batch_size": batch_size or _batch_size(rows, is_image),
        "columns": request.columns,
    }
    if not is_file(request.data):
        from flowzoo.data import dataset_info

        _, section["train"], section["validation"] = _splits(dataset_info(request.data))
    return section


def _names(found: FileInfo) -> list[str] | None:
    """The columns of a file that names them; another file may have more columns, in another order."""
    unnamed = tuple(f"f{i}" for i in range(len(found.columns)))
    return list(found.columns) if found.format in ("csv", "parquet") and found.columns != unnamed else None


def _splits(info: DatasetInfo) -> tuple[int, str, str]:
    """For a data set: its number of training rows, their split, and the split that chooses the epoch."""
    rows = info.splits["train"]
    held_out = info.splits.get("validation", rows // 10)
    if "validation" not in info.splits or info.validation_ends_train:
        return rows - held_out, f"train[:-{held_out}]", f"train[-{held_out}:]"
    return rows, "train", "validation"


def _batch_size(rows: int, is_image: bool) -> int:
    """A power of two that gives an epoch about 16 steps: from 16 to 512 rows, or to 64 images."""
    return batch_size_for(rows, 16, 64 if is_image else 512)


def _recipe(model: dict, data: dict, training: dict, seed: int) -> ZooConfig:
    from flowzoo.recipes.config import ZooConfig

    stem = re.sub(r"\W+", "_", Path(data["source"]).name.split(".")[0]).strip("_")
    return ZooConfig.model_validate(
        {
            "name": f"{model['name']}_{stem or 'data'}",
            "description": "Made by flowzoo fit.",
            "seed": seed,
            "model": model,
            "data": data,
            "training": training,
        }
    )
