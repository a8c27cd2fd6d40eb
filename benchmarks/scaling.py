"""How cost grows with rows, batch, depth and dimensions: benchmarks/scaling.csv, its picture and summary.

    python benchmarks/scaling.py [--most-rows 1e8]

Takes about five minutes; needs an idle machine. Each line of the table has the varied quantity, its value,
the task, and the cost (microseconds per row; MiB of resident memory for "resident").
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from performance import ROOT, replace_between_markers

import flowzoo

BATCH, SIZE = 512, 8
Row = tuple[str, int, str, float]


def main() -> None:
    """Measures everything, and writes the table, the picture and the summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most-rows", type=float, default=1e8)
    arguments = parser.parse_args()
    measured: list[Row] = []
    # Rows first, so that their memory does not include what the other measurements leave behind.
    for row in (*rows(int(arguments.most_rows)), *batches(), *depths(), *dimensions()):
        print("{} {}: {} {:.4g}".format(*row), flush=True)
        measured.append(row)
    with (ROOT / "benchmarks/scaling.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["varied", "value", "work", "cost"])
        writer.writerows((*row[:3], f"{row[3]:.4g}") for row in measured)
    draw(measured, ROOT / "docs/images/scaling.png")
    replace_between_markers("scaling", in_words(measured))


def batches() -> Iterator[Row]:
    """Cost against rows per call: RealNVP, D = 8."""
    flow = moved("realnvp", SIZE)
    for batch in (1, 8, 64, 512, 4096, 32768):
        x = rows_of(batch, SIZE)
        yield "batch", batch, "log_prob", cost(lambda x=x: flow.log_prob(x).numpy(), batch)
        yield "batch", batch, "sample", cost(lambda batch=batch: flow.sample(batch).numpy(), batch)


def depths() -> Iterator[Row]:
    """Cost against couplings: RealNVP, D = 8."""
    x = rows_of(BATCH, SIZE)
    for couplings in (2, 4, 8, 16, 32, 64):
        flow = moved("realnvp", SIZE, steps=couplings)
        yield "couplings", couplings, "log_prob", cost(lambda flow=flow: flow.log_prob(x).numpy(), BATCH)
        yield "couplings", couplings, "sample", cost(lambda flow=flow: flow.sample(BATCH).numpy(), BATCH)
        yield "couplings", couplings, "train", cost(train_steps(flow, x), BATCH) / flow.steps_per_execution


def dimensions() -> Iterator[Row]:
    """Cost against columns: MAF, five layers of 512x2."""
    for size in (2, 8, 32, 64, 128, 256, 512, 784):
        flow, x = moved("maf", size, hidden_units=(512, 512)), rows_of(BATCH, size)
        yield "D", size, "log_prob", cost(lambda flow=flow, x=x: flow.log_prob(x).numpy(), BATCH)
        yield "D", size, "sample", cost(lambda flow=flow: flow.sample(BATCH).numpy(), BATCH)


def rows(most: int) -> Iterator[Row]:
    """Cost against rows in a stream of blocks, as `flowzoo score` reads: RealNVP, two couplings, D = 2."""
    flow = flowzoo.create_model("realnvp", (2,), steps=2, hidden_units=(16,))
    flow.adapt(rows_of(1000, 2))
    block = rows_of(100_000, 2)
    flow.log_prob(block[:10_000])
    count = 10_000
    while count <= most:
        start, done = time.perf_counter(), 0
        while done < count:
            part = block[: count - done]
            flow.log_prob(part).numpy()
            done += len(part)
        yield "rows", count, "log_prob", 1e6 * (time.perf_counter() - start) / count
        yield "rows", count, "resident", resident_mib()
        count *= 10


def moved(name: str, size: int, **options) -> flowzoo.Flow:
    """A flow moved away from the identity, so that no layer is trivial."""
    flow = flowzoo.create_model(name, (size,), preprocessing="none", actnorm=False, **options)
    flow.adapted.assign(1.0)
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.001 * rng.standard_normal(variable.shape))
    return flow


def rows_of(count: int, size: int) -> np.ndarray:
    """Standard normal rows."""
    return np.random.default_rng(0).standard_normal((count, size)).astype("float32")


def train_steps(flow: flowzoo.Flow, x: np.ndarray) -> Callable:
    """The function that `fit` calls for every few steps."""
    flow.compile(keras.optimizers.Adam(1e-6))
    data = tf.data.Dataset.from_tensors(x).repeat()
    flow.fit(data.take(1), verbose=0)
    iterator = iter(data)
    return lambda: float(flow.train_function(iterator)["loss"])


def cost(call: Callable, count: int, seconds: float = 1.0) -> float:
    """Median microseconds per row of a call with this many rows."""
    call(), call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / count


def resident_mib() -> float:
    """Resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_words(measured: list[Row]) -> str:
    """Summary: cost of the largest case relative to a case where the work outweighs the call overhead."""
    costs = {row[:3]: row[3] for row in measured}
    most = max(value for varied, value, *_ in measured if varied == "rows")

    def times(varied, few, many, work):
        return f"{costs[varied, many, work] / costs[varied, few, work]:.1f}"

    few = min(100_000, most)
    first, last = (costs["rows", rows, "resident"] for rows in (few, most))
    train, log_prob, sample = (times("couplings", 8, 64, work) for work in ("train", "log_prob", "sample"))
    lines = (
        f"Rows, {few:,} to {most:,}: a density costs {times('rows', few, most, 'log_prob')} times as much "
        f"per row; resident memory grows from {first:.0f} to {last:.0f} MiB.",
        f"Couplings, 8 to 64: a training step costs {train} times as much, a density {log_prob}, a sample "
        f"{sample}.",
        f"Columns of a MAF, 64 to 784 (12.2 times): a sample costs {times('D', 64, 784, 'sample')} times as "
        f"much, a density {times('D', 64, 784, 'log_prob')}.",
    )
    return "\n".join(f"* {line}" for line in lines)


def draw(measured: list[Row], path: Path) -> None:
    """Draws one panel for each varied quantity."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axes, varied in zip(figure.subplots(1, 4), ("batch", "couplings", "D", "rows"), strict=True):
        for work in ("log_prob", "sample", "train"):
            points = [
                (value, spent) for what, value, kind, spent in measured if (what, kind) == (varied, work)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=work)
        axes.set(xscale="log", yscale="log", xlabel=varied)
        values = sorted({value for what, value, *_ in measured if what == varied})
        if values[-1] < 1000:
            axes.set_xticks(values, values, fontsize=8, rotation=90)
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("microseconds per row")
    by_rows = figure.axes[3]
    by_rows.set_ylim(0.5 * by_rows.get_ylim()[0], 2 * by_rows.get_ylim()[1])
    memory = by_rows.twinx()
    points = [(value, spent) for what, value, kind, spent in measured if (what, kind) == ("rows", "resident")]
    memory.plot(*zip(*points, strict=True), color="gray", linestyle="--", label="resident")
    memory.set(ylabel="resident memory, MiB (dashed)", ylim=(0, 2 * max(spent for _, spent in points)))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
