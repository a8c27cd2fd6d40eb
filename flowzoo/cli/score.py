"""flowzoo score: the log-density of each row of a data set, streamed to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from flowzoo.cli.common import Columns, ContextColumns, Data, DataDir, Model, NoDownload, load_flow
from flowzoo.cli.console import counter, examples
from flowzoo.cli.rows import Request, is_file, make_request
from flowzoo.cli.tables import check_ending, write_table

if TYPE_CHECKING:
    from flowzoo.flow import Flow

EXAMPLES = examples(
    "flowzoo score runs/mine rows.csv --out scores.csv",
    "flowzoo score flow.keras digits --split test --out scores.parquet",
)


def run(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Ends in .csv, .npy or .parquet.")],
    split: Annotated[str, typer.Option(help="Split of a data set; all rows of a file are scored.")] = "all",
    columns: Columns = None,
    context_columns: ContextColumns = None,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Writes the density of each row.

    Columns log_prob (nats), bits_per_dim (of images) and valid; rows in the order of the input.
    A row with missing or infinite values is not valid; its log_prob is the lowest finite float.
    """
    check_ending(out)
    request = make_request(model, data, split, columns, context_columns, data_dir, not no_download)
    if split != "all" and is_file(data):
        raise ValueError("--split is for data sets of the catalog; all rows of a file are scored.")
    flow = load_flow(model)
    with counter("scored") as show:
        rows, bad = write_table(out, _scores(flow, request), show)
    invalid = f" ({bad:,} not valid)" if bad else ""
    typer.echo(f"scored {rows:,} rows{invalid}: {out}")


def _scores(flow: Flow, request: Request) -> Iterator[dict[str, np.ndarray]]:
    for x, context in request.chunks(flow):
        yield {name: values.numpy() for name, values in flow.score(x, context).items()}
