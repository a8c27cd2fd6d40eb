"""The parts of a cold start, in milliseconds: benchmarks/coldstart.csv, shown in performance.md.

    .peers/flowzoo/bin/python benchmarks/coldstart.py
    python benchmarks/performance.py peers-results.jsonl

Each case runs in its own processes, with Python's `-X importtime`, which reports the time of each module's
own code. Imports after TensorFlow are counted by package, whichever line of flowzoo triggers them. The last
two rows split the first density, by also running it as a graph. The figures are medians. Takes two minutes;
needs an idle machine.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import bench
import records

CASES = {"realnvp": 6, "maf": 6, "nsf": 6, "glow": 1024}
# Packages below this many milliseconds in a case are summed as "other packages".
LEAST = 15.0
IMPORT, LAYERS, DENSITY = "Python and `import tensorflow`", "building the layers", "first density"
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")


def main() -> None:
    """Measures all cases and writes the table, or runs as the measured process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        cold_start(*arguments.child)
        return
    spent = {case: case_parts(case, arguments.runs) for case in CASES}
    parts = list(dict.fromkeys(part for parts in spent.values() for part in parts))
    rows = [{"part": part} | {case: f"{spent[case].get(part, 0.0):.0f}" for case in CASES} for part in parts]
    records.write(Path(__file__).with_name("coldstart.csv"), rows)


def case_parts(case: str, runs: int) -> dict[str, float]:
    """The median milliseconds of each part, in order."""
    measured = [measure(case, "default") for _ in range(runs)]
    traced = statistics.median(measure(case, "graph")[DENSITY] for _ in range(runs))
    parts = {part: statistics.median(run.get(part, 0.0) for run in measured) for part in measured[0]}
    first = parts.pop(DENSITY)
    packages = {
        part: spent for part, spent in parts.items() if part not in (IMPORT, LAYERS) and spent >= LEAST
    }
    others = sum(spent for part, spent in parts.items() if part not in (IMPORT, LAYERS, *packages))
    return {
        IMPORT: parts[IMPORT],
        **{f"`{name}`": spent for name, spent in sorted(packages.items(), key=lambda each: -each[1])},
        "other packages": others,
        LAYERS: parts[LAYERS],
        f"{DENSITY}: tracing and running, as a graph": min(traced, first),
        f"{DENSITY}: what XLA adds": max(0.0, first - traced),
    }


def measure(case: str, variant: str) -> dict[str, float]:
    """Measures one cold start: milliseconds by package and part."""
    command = [sys.executable, "-X", "importtime", __file__, "--child", case, variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    now, ages, packages = "import_s", {}, defaultdict(float)
    imports: dict[str, float] = defaultdict(float)
    tensorflow_is_there = False
    for line in done.stderr.splitlines():
        if line.startswith("end "):
            _, part, age = line.split()
            ages[part] = 1e3 * float(age)
            now = {"import_s": "build_s", "build_s": "first_s"}.get(part, part)
        elif found := IMPORTED.match(line):
            if tensorflow_is_there:
                spent = int(found[1]) / 1e3
                packages[found[2].partition(".")[0]] += spent
                imports[now] += spent
            tensorflow_is_there |= found[2] == "tensorflow"
    return {
        IMPORT: ages["import_s"] - imports["import_s"],
        **packages,
        LAYERS: ages["build_s"] - ages["import_s"] - imports["build_s"],
        DENSITY: ages["first_s"] - ages["build_s"] - imports["first_s"],
    }


def cold_start(case: str, variant: str) -> None:
    """Runs in the measured process: `bench.py --task cold`, which reports the end of each part."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    bench.limit_threads(2)
    batch = 32 if case == "glow" else 512
    arguments = argparse.Namespace(task="cold", case=case, dim=CASES[case], batch=batch, variant=variant)
    bench.cold_start(arguments, say)


def say(part: str) -> None:
    """Reports the end of a part on stderr, between Python's lines about imports."""
    print("end", part, bench.process_age(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
