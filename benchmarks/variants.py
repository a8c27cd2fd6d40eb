"""flowzoo as it comes beside what a user could switch on: benchmarks/variants.csv, shown in performance.md.

    python benchmarks/variants.py [--tasks train log_prob sample] [--cases maf glow] [--dims 6 64]
    python benchmarks/performance.py peers-results.jsonl

Runs `bench.py --variant auto` for the cells of rounds.py, on an idle machine: compiled with XLA, as a graph,
and one step at a time. The default should be within a tenth of the fastest. Results of other cells stay in
the CSV.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import records
import rounds
from performance import ROOT, VARIANTS

SWITCHES = ("default", "xla", "graph", "single")
TASKS = ("train", "log_prob", "sample")


def main() -> None:
    """Measures the cells that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--cases", nargs="+", help="all by default")
    parser.add_argument("--dims", type=int, nargs="+", help="all by default")
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    rows = {(row["task"], row["case"], row["dim"]): row for row in records.read(VARIANTS)}
    for cell in rounds.grid():
        wanted = {"task": arguments.tasks, "case": arguments.cases, "dim": arguments.dims}
        if any(values and cell[name] not in values for name, values in wanted.items()):
            continue
        key = (cell["task"], cell["case"], str(cell["dim"]))
        rows[key] = measure(cell, arguments.seconds)
        print(rows[key], flush=True)
        records.write(VARIANTS, list(rows.values()))


def measure(cell: dict, seconds: float) -> dict:
    """One row of the table: rows a second of each variant."""
    options = {name: cell[name] for name in ("task", "case", "dim", "batch")} | {"seconds": seconds}
    command = [sys.executable, str(ROOT / "benchmarks/bench.py"), "--variant", "auto"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    variants = json.loads(done.stdout.splitlines()[-1])["variants"]
    values = {name: variants[name]["value"] if name in variants else None for name in SWITCHES}
    best = max(value for value in values.values() if value)
    shown = {name: "" if value is None else f"{value:.4g}" for name, value in values.items()}
    return {
        "task": cell["task"],
        "case": cell["case"],
        "dim": str(cell["dim"]),
        **shown,
        "default_over_fastest": f"{values['default'] / best:.3f}",
    }


if __name__ == "__main__":
    main()
