"""flowzoo sample: draws samples from a flow and writes them to a picture or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from flowzoo.cli.common import Model, columns_of, load_flow
from flowzoo.cli.console import examples
from flowzoo.cli.tables import check_ending

if TYPE_CHECKING:
    from flowzoo.flow import Flow

EXAMPLES = examples(
    "flowzoo sample runs/mine -n 1000 --out samples.csv",
    "flowzoo sample flow.keras -n 64 --out samples.png --temperature 0.8",
    "flowzoo sample runs/by_class -n 16 --context 7",
)

ENDINGS = (".png", ".npy", ".csv")


def run(
    model: Model,
    count: Annotated[
        int | None,
        typer.Option(
            "-n", "--count", min=1, help="Number of samples; by default 64, or one per row of a context file."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output file: .png (images or 2 columns), .npy or .csv; by default samples.png or "
            "samples.csv."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Scale of the noise; below 1, samples are likelier.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same samples.")] = 0,
    context: Annotated[
        str | None,
        typer.Option(
            help="For a conditional flow: numbers separated by commas, a class number for one-hot "
            "contexts, or a file (.npy, .csv, ...) with one row per sample."
        ),
    ] = None,
) -> None:
    """Draws samples in the units of the data."""
    if out is not None:
        check_ending(out, ENDINGS)
    flow = load_flow(model)
    drawable = flow.is_image or flow.event_shape == (2,)
    out = out or Path("samples.png" if drawable else "samples.csv")
    _check_fits(flow, out, drawable)
    rows = None if context is None else read_context(context, flow.context_shape)
    if count is None:
        count = len(rows) if rows is not None and rows.ndim == 2 else 64
    x = whole_steps(flow, flow.sample(count, rows, temperature, seed).numpy())
    _write(flow, x, out, columns_of(model))
    typer.echo(f"wrote {count:,} samples (seed {seed}): {out}")


def _check_fits(flow: Flow, out: Path, drawable: bool) -> None:
    if out.suffix.lower() == ".png" and not drawable:
        raise ValueError(
            f"A .png is for images and for rows of two columns; this flow's rows are {flow.event_shape}. "
            "Use --out samples.csv or samples.npy."
        )
    if out.suffix.lower() == ".csv" and flow.is_image:
        raise ValueError("A .csv is for tables; this flow's rows are images. Use .png or .npy.")


def _write(flow: Flow, x: np.ndarray, out: Path, columns: list[str | int] | None) -> None:
    from flowzoo import plots
    from flowzoo.storage import files

    if out.suffix.lower() == ".png" and flow.is_image:
        plots.save_image_grid(x, out, levels=flow.pixel_levels or 256)
    elif out.suffix.lower() == ".png":
        plots.save_scatter(x, out)
    else:
        with files.replacing(out) as temporary:
            if out.suffix.lower() == ".npy":
                np.save(temporary, x)
            else:
                names = [f"x{i}" for i in range(x.shape[1])]
                # A single name may be the key of an array with many columns.
                if columns is not None and len(columns) == len(names):
                    names = [str(column) for column in columns]
                np.savetxt(temporary, x, "%.9g", ",", header=",".join(names), comments="")


def read_context(text: str, context_shape: tuple[int, ...] | None) -> np.ndarray:
    """Parses a context from the command line: one vector ``[size]``, or rows ``[n, size]`` of a file.

    Args:
        text: "0.5,2", a class number for one-hot contexts, or a file.
        context_shape: Context shape of the flow.

    Raises:
        ValueError: If it is none of these.
    """
    from flowzoo.data import files

    if files.is_path(text):
        source = files.open_files(files.expand(text))
        return np.concatenate([x for x, _ in source.chunks(None)])
    try:
        vector = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        raise ValueError(f"--context expects numbers such as 0.5,2 or a file; got {text!r}.") from None
    size = 1 if context_shape is None else context_shape[0]
    if size > 1 and vector.shape == (1,) and vector[0] in range(size):
        return np.eye(size, dtype=np.float32)[int(vector[0])]
    return vector


def whole_steps(flow: Flow, x: np.ndarray) -> np.ndarray:
    """Rounds samples of discrete data down to values of the data: whole pixels or whole steps."""
    step = flow.density.discrete_steps
    if not step.any():
        return x
    safe = np.where(step > 0, step, 1.0)
    x = np.where(step > 0, np.floor(x / safe) * safe, x).astype(x.dtype)
    return np.clip(x, 0, 255).astype(np.uint8) if flow.input_dtype == "uint8" else x
