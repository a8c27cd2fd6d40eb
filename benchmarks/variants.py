"""flowzoo's defaults compared with other settings: benchmarks/variants.csv, shown in performance.md.

    python benchmarks/variants.py [--tasks train log_prob sample] [--cases maf glow] [--dims 6 64]
    python benchmarks/performance.py peers-results.jsonl

Runs `bench.py --variant auto` for the cells of rounds.py, on an idle machine: compiled with XLA, as a graph,
and one step at a time. It does not measure a variant that equals the default. The default should be within a
tenth of the fastest. If it is not in one round, the medians of five rounds decide. Results of other cells
stay in the CSV.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

import records
import rounds
from performance import LEAST_SHARE, ROOT, VARIANTS

SWITCHES = ("default", "xla", "graph", "single")
TASKS = ("train", "log_prob", "sample")
ROUNDS = 5


def main() -> None:
    """Measures the selected cells."""
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


def measure(cell: dict, seconds: float) -> dict[str, str]:
    """Measures one row of the table: rows per second of each variant."""
    measured = [one_round(cell, seconds)]
    if default_over_fastest(measured[0]) < LEAST_SHARE:
        measured += [one_round(cell, seconds) for _ in range(ROUNDS - 1)]
    values = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    return {
        **{name: str(cell[name]) for name in ("task", "case", "dim")},
        **{name: f"{values[name]:.4g}" if name in values else "" for name in SWITCHES},
        "default_over_fastest": f"{default_over_fastest(values):.3f}",
        "rounds": str(len(measured)),
    }


def default_over_fastest(values: dict[str, float]) -> float:
    """The default's rows per second over those of the fastest variant."""
    return values["default"] / max(values.values())


def one_round(cell: dict, seconds: float) -> dict[str, float]:
    """Rows per second of each variant, one process after the other."""
    options = {name: cell[name] for name in ("task", "case", "dim", "batch")} | {"seconds": seconds}
    command = [sys.executable, str(ROOT / "benchmarks/bench.py"), "--variant", "auto"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    variants = json.loads(done.stdout.splitlines()[-1])["variants"]
    return {name: result["value"] for name, result in variants.items()}


if __name__ == "__main__":
    main()
