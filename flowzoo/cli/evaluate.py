"""flowzoo evaluate: the mean density of a data set under a flow, with its standard error."""

from __future__ import annotations

from typing import Annotated

import typer

from flowzoo.cli.common import (
    Columns,
    ContextColumns,
    Data,
    DataDir,
    Missing,
    Model,
    NoDownload,
    load_flow,
)
from flowzoo.cli.console import examples
from flowzoo.cli.rows import make_request
from flowzoo.utils.metrics import describe_metrics

EXAMPLES = examples(
    "flowzoo evaluate runs/mine rows.csv",
    "flowzoo evaluate runs/mine new_rows.csv --split all",
    "flowzoo evaluate flow.keras digits --split test",
)


def run(
    model: Model,
    data: Data,
    split: Annotated[
        str,
        typer.Option(help="Split of DATA; for a file: train, validation, test or all, as in fit."),
    ] = "test",
    columns: Columns = None,
    context_columns: ContextColumns = None,
    missing: Missing = "error",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per batch.")] = 1024,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Prints the mean density of a data set.

    The result is a negative log-likelihood with its standard error: in nats per row, and for images also in
    bits/dim.
    """
    request = make_request(model, data, split, columns, context_columns, data_dir, not no_download)
    flow = load_flow(model)
    from flowzoo.recipes.evaluation import evaluate

    dataset = request.dataset(flow, batch_size, missing)
    typer.echo(describe_metrics(evaluate(flow, dataset)))
