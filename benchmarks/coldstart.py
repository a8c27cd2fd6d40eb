"""What a cold start is made of, in milliseconds: benchmarks/coldstart.csv, shown in performance.md.

    .peers/flowzoo/bin/python benchmarks/coldstart.py
    python benchmarks/performance.py peers-results.jsonl

Each case runs in processes of its own, with Python's `-X importtime`, which says what each module's own code
took: what is imported after TensorFlow is counted by package, whichever line of flowzoo asks for it. The last
two rows part the first density, by running it as a graph too. Medians, on an idle machine, two minutes.
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
# Packages below this many milliseconds in a case are summed up there.
LEAST = 15.0
TENSORFLOW, BUILD, FIRST = "tensorflow", "build", "first"
IMPORT, LAYERS, DENSITY = "Python and `import tensorflow`", "building the layers", "first density"
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")


def main() -> None:
    """Measures all cases and writes the table, or is the process that is measured."""
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
    """The milliseconds of each part, in order."""
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
    """One cold start: milliseconds by package and stage."""
    command = [sys.executable, "-X", "importtime", __file__, "--child", case, variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    stage, ends, packages = TENSORFLOW, {}, defaultdict(float)
    imports: dict[str, float] = defaultdict(float)
    for line in done.stderr.splitlines():
        if line.startswith("stage "):
            _, name, seconds = line.split()
            ends[name] = 1e3 * float(seconds)
            stage = {TENSORFLOW: BUILD, BUILD: FIRST}.get(name, FIRST)
        elif (found := IMPORTED.match(line)) and stage != TENSORFLOW:
            spent = int(found[1]) / 1e3
            packages[found[2].partition(".")[0]] += spent
            imports[stage] += spent
    return {
        IMPORT: ends[TENSORFLOW],
        **packages,
        LAYERS: ends[BUILD] - ends[TENSORFLOW] - imports[BUILD],
        DENSITY: ends[FIRST] - ends[BUILD] - imports[FIRST],
    }


def cold_start(case: str, variant: str) -> None:
    """The process that is measured: what `bench.py --task cold` does, saying when each stage ends."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    bench.limit_threads(2)
    import numpy as np
    import tensorflow  # noqa: F401

    say(TENSORFLOW)
    import flowzoo

    arguments = argparse.Namespace(task="cold", case=case, dim=CASES[case], variant=variant)
    flow = bench.build(flowzoo, arguments)
    say(BUILD)
    batch = 32 if case == "glow" else 512
    flow.log_prob(np.zeros((batch, *flow.event_shape), np.float32)).numpy()
    say(FIRST)


def say(stage: str) -> None:
    """Where the process is, among the lines that Python writes about imports."""
    print("stage", stage, bench.process_age(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
