"""flowzoo and the other flow libraries in turns, cell by cell, for as long as there is time: JSON lines.

    python benchmarks/rounds.py --peers ../shared/peers --out peers-results.jsonl --minutes 60
    python benchmarks/performance.py peers-results.jsonl

Every measurement is one of the peers' run_all.py. The first round of a cell runs each library in each of its
variants; later rounds the one or two that were fastest, in their fastest variant, and flowzoo. Cells with the
fewest rounds come first, of these the closest races. What the file holds counts, so that a run can be stopped
and started again; it should be one machine's, with nothing else running.

Two things save hours. Where a pass a column is the only way of the others, torch.compile, which unrolls all
passes, runs at D = 6 alone. At D = 784 the libraries run that were the fastest at D = 64.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import performance

LIBRARIES = ("normflows", "nflows", "zuko", "flowjax", "distrax", "tfp")
DIMS = (6, 21, 43, 64)
# Work that costs the other libraries a pass of the network for each column.
PASS_A_COLUMN = (("maf", "sample"), ("iaf", "log_prob"))
TOY = ("two_moons", "pinwheel", "checkerboard")
COMMAND = ".peers/flowzoo/bin/python benchmarks/bench.py --variant default"
# How many of the others run again after the first round, and how much slower than the fastest they may be.
FASTEST, NEAR = 2, 1.5


def main() -> None:
    """Measures until the rounds or the minutes are through."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, default=Path("../shared/peers"))
    parser.add_argument("--out", type=Path, default=Path("peers-results.jsonl"))
    parser.add_argument("--flowzoo", default=COMMAND, help="the command that is measured as flowzoo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--tasks", nargs="+", default=list(performance.TITLES))
    parser.add_argument("--cases", nargs="+", help="all by default")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--fit-seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    cells = [
        cell
        for cell in grid()
        if cell["task"] in arguments.tasks and (not arguments.cases or cell["case"] in arguments.cases)
    ]
    while time.monotonic() < end:
        records = performance.measured(arguments.out) if arguments.out.exists() else []
        rounds, _, cell = min(((*standing(cell, records), cell) for cell in cells), key=lambda each: each[:2])
        if rounds >= arguments.rounds:
            break
        for library, variant in field(cell, records, rounds):
            measure(cell, library, variant, arguments)


def grid() -> Iterator[dict]:
    """Everything that docs/performance.md shows."""
    for task in ("train", "log_prob", "sample"):
        for case in ("realnvp", "maf", "iaf", "nsf"):
            if (task, case) != ("train", "iaf"):
                yield from ({"task": task, "case": case, "dim": dim, "batch": 512} for dim in DIMS)
        yield from ({"task": task, "case": "glow", "dim": dim, "batch": 32} for dim in (1024, 3072))
        yield from ({"task": task, "case": case, "dim": 2, "batch": 512} for case in ("planar", "radial"))
        yield {"task": task, "case": "maf512", "dim": 64, "batch": 512}
    yield {"task": "sample", "case": "maf512", "dim": 784, "batch": 100}
    yield from ({"task": "cold", "case": case, "dim": 6, "batch": 512} for case in ("realnvp", "maf", "nsf"))
    yield {"task": "cold", "case": "glow", "dim": 1024, "batch": 32}
    for case in ("realnvp", "maf", "nsf"):
        yield from ({"task": "fit", "case": case, "dim": 2, "batch": 512, "data": data} for data in TOY)


def of_cell(cell: dict, records: list[dict]) -> list[dict]:
    """The records of one cell."""
    return [record for record in records if all(record.get(key) == value for key, value in cell.items())]


def standing(cell: dict, records: list[dict]) -> tuple[int, float]:
    """How many rounds a cell has had, and how far ahead flowzoo is of what it must be."""
    records = of_cell(cell, records)
    rounds = sum(record["peer"] == performance.OURS for record in records)
    compared = performance.compare(performance.median_of_rounds(records))
    return rounds, min((row["ratio"] / row["must"] for row in compared), default=0.0)


def field(cell: dict, records: list[dict], rounds: int) -> list[tuple[str, str | None]]:
    """Who runs in a round, with which variant, in which order: another one starts each time."""
    ours = (performance.OURS, None)
    if rounds == 0:
        libraries = LIBRARIES
        if cell["task"] == "cold":
            libraries = ("tfp",)
        elif cell["dim"] == 784:
            libraries = [library for library, _ in fastest({**cell, "dim": 64, "batch": 512}, records)]
        return [*((library, None) for library in libraries), ours]
    everyone = [*fastest(cell, records), ours]
    first = rounds % len(everyone)
    return everyone[first:] + everyone[:first]


def fastest(cell: dict, records: list[dict]) -> list[tuple[str, str]]:
    """Of the others, those worth another round, with their variants."""
    key = "value" if cell["task"] == "fit" else "per_step_ms_median"
    costs: dict[tuple, list[float]] = defaultdict(list)
    for record in of_cell(cell, records):
        if record["peer"] != performance.OURS and record.get("value") is not None:
            costs[record["peer"], record["variant"]].append(record[key])
    medians = {other: statistics.median(values) for other, values in costs.items()}
    order = sorted(medians, key=medians.__getitem__)[:FASTEST]
    if cell["task"] == "fit":
        return order
    return [other for other in order if medians[other] <= NEAR * medians[order[0]]]


def measure(cell: dict, library: str, variant: str | None, arguments: argparse.Namespace) -> None:
    """One library in one cell, by run_all.py, which appends to the file."""
    command = [
        sys.executable,
        str(arguments.peers / "run_all.py"),
        "--rounds",
        "1",
        "--variant-timeout",
        "120",
    ]
    command += ["--seconds", str(arguments.seconds), "--fit-seconds", str(arguments.fit_seconds)]
    command += ["--tasks", cell["task"], "--cases", cell["case"], "--batch", str(cell["batch"])]
    command += ["--glow-dims" if cell["case"] == "glow" else "--dims", str(cell["dim"])]
    command += ["--data", cell["data"]] if "data" in cell else []
    command += ["--variant", variant] if variant else []
    if (cell["case"].rstrip("0123456789"), cell["task"]) in PASS_A_COLUMN and cell["dim"] > 6:
        command += ["--skip-variants", "compile"]
    command += ["--out", str(arguments.out), "--peers"]
    command += ["--extra", f"{library}={arguments.flowzoo}"] if library == performance.OURS else [library]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
