"""flowzoo score: the log-density of each row of a data set, streamed to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowzoo.cli.common import (
    Columns,
    ContextColumns,
    Data,
    DataDir,
    Model,
    NoDownload,
    load_flow,
)
from flowzoo.cli.console import counter, examples
from flowzoo.cli.rows import Request, is_file, make_request
from flowzoo.cli.tables import Batches, check_ending, write_table

if TYPE_CHECKING:
    from flowzoo.flow import Flow

EXAMPLES = examples(
    "flowzoo score runs/mine rows.csv --out scores.csv",
    "flowzoo score flow.keras digits --split test --out scores.parquet",
    "flowzoo score detectors/mine rows.csv --false-positives 0.01 --out flagged.csv",
)


def run(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Output file: .csv, .npy or .parquet.")],
    split: Annotated[str, typer.Option(help="Split of a data set; all rows of a file are scored.")] = "all",
    columns: Columns = None,
    context_columns: ContextColumns = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="NATS", help="Flag rows whose -log_prob is above this.")
    ] = None,
    false_positives: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="For a detector: flag rows, at most this fraction of normal ones, such as 0.01.",
        ),
    ] = None,
    data_dir: DataDir = None,
    no_download: NoDownload = False,
) -> None:
    """Writes the density of each row.

    The columns are log_prob (nats), bits_per_dim (for images) and valid; rows keep the order of the input.
    A row with missing or infinite values is not valid; its log_prob is the lowest finite float.
    With a threshold, the column anomaly is true for flagged rows; rows that are not valid are flagged.
    """
    check_ending(out)
    threshold = _threshold(model, threshold, false_positives)
    request = make_request(model, data, split, columns, context_columns, data_dir, not no_download)
    if split != "all" and is_file(data):
        raise ValueError("--split is for data sets of the catalog; all rows of a file are scored.")
    flow = load_flow(model)
    scores = _scores(flow, request)
    counts: list[int] = []
    if threshold is not None:
        scores = _flagged(scores, threshold, counts)
    with counter("scored") as show:
        rows, bad = write_table(out, scores, show)
    invalid = f" ({bad:,} not valid)" if bad else ""
    flagged = "" if threshold is None else f", flagged {sum(counts):,} (above {threshold:.6g} nats)"
    typer.echo(f"scored {rows:,} rows{invalid}{flagged}: {out}")


def _threshold(model: str, threshold: float | None, false_positives: float | None) -> float | None:
    if false_positives is None:
        return threshold
    if threshold is not None:
        raise ValueError("Give --threshold or --false-positives, not both.")
    from flowzoo.applications.calibration import Calibration
    from flowzoo.storage.presets import find_flow

    return Calibration.read(find_flow(model)).threshold(false_positives)


def _scores(flow: Flow, request: Request) -> Batches:
    for x, context in request.chunks(flow):
        yield {name: values.numpy() for name, values in flow.score(x, context).items()}


def _flagged(scores: Batches, threshold: float, counts: list[int]) -> Batches:
    """Adds the column anomaly; appends the number of anomalies in each batch to `counts`."""
    for batch in scores:
        batch["anomaly"] = -batch["log_prob"] > threshold
        counts.append(int(batch["anomaly"].sum()))
        yield batch
