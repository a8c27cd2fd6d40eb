"""Runs flowzoo and the other flow libraries in turns, cell by cell, until time is up: JSON lines.

    python benchmarks/rounds.py --peers ../shared/peers --scout --minutes 60
    python benchmarks/rounds.py --peers ../shared/peers --out peers-results.jsonl --minutes 60
    python benchmarks/performance.py peers-results.jsonl

Every measurement is a run of the peers' run_all.py, with nothing else running. Scouting runs each library
once in each of its variants, in every cell, and keeps the fastest variant of each in
benchmarks/contenders.csv. It takes 90 minutes, hardly depends on the machine, and is needed only once. Rounds
run flowzoo and the one or two libraries that were near the fastest in scouting. Cells with the fewest rounds
come first, and among these the closest comparisons. A comparison that is decided after three rounds gets its
other rounds last. Results in the files count, so you can stop and restart both; run all rounds on one
machine. All libraries use the same seed in a round of a cell, and each round has another seed.

Two rules save hours. Where the other libraries need a pass per column, torch.compile, which unrolls all
passes, runs only at D = 6. At D = 784 only the libraries that were the fastest at D = 64 run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import performance
import records

LIBRARIES = ("normflows", "nflows", "zuko", "flowjax", "distrax", "tfp")
DIMS = (6, 21, 43, 64)
# Tasks that cost the other libraries a pass of the network for each column.
PASS_A_COLUMN = (("maf", "sample"), ("iaf", "log_prob"))
TOY = ("two_moons", "pinwheel", "checkerboard")
COMMAND = ".peers/flowzoo/bin/python benchmarks/bench.py --variant default"
# Number of other libraries in the rounds, and how much slower than the fastest of them they may be.
MOST, NEAR = 2, 1.25
# A comparison is decided after this many rounds if flowzoo exceeds its bound by this factor.
SETTLED_AFTER, SETTLED_BY = 3, 1.5
CONTENDERS = performance.ROOT / "benchmarks/contenders.csv"
CELL = ("task", "case", "dim", "batch", "data")


def main() -> None:
    """Measures until all rounds are done or the time is up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, default=Path("../shared/peers"))
    parser.add_argument("--out", type=Path, default=Path("peers-results.jsonl"))
    parser.add_argument("--flowzoo", default=COMMAND, help="the command that measures flowzoo")
    parser.add_argument("--scout", action="store_true", help="find the fastest of the other libraries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--tasks", nargs="+", default=list(performance.TITLES))
    parser.add_argument("--cases", nargs="+", help="all by default")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of a measurement")
    parser.add_argument("--fit-seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    sys.path.append(str(arguments.peers))
    end = time.monotonic() + 60 * arguments.minutes
    cells = [
        cell
        for cell in grid()
        if cell["task"] in arguments.tasks and (not arguments.cases or cell["case"] in arguments.cases)
    ]
    if arguments.scout:
        scout(cells, end, arguments)
        return
    seen = {key(cell): contenders(cell) for cell in cells}
    if unseen := sum(not found for found in seen.values()):
        raise SystemExit(f"{unseen} of {len(cells)} cells have no contenders yet: run --scout first.")
    while time.monotonic() < end:
        results = performance.measured(arguments.out) if arguments.out.exists() else []
        standings = [(standing(cell, results), cell) for cell in cells]
        ahead = [each for each in standings if each[0][1] < arguments.rounds]
        if not ahead:
            break
        (_, rounds, _), cell = min(ahead, key=lambda each: each[0])
        everyone = [*seen[key(cell)], (performance.OURS, None)]
        first = rounds % len(everyone)
        for library, variant in everyone[first:] + everyone[:first]:
            measure(cell, library, variant, arguments.out, arguments, seed=rounds)


def grid() -> Iterator[dict]:
    """Every cell that docs/performance.md shows."""
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


def of_cell(cell: dict, results: list[dict]) -> list[dict]:
    """The results of one cell."""
    return [result for result in results if all(result.get(name) == value for name, value in cell.items())]


def standing(cell: dict, results: list[dict]) -> tuple[bool, int, float]:
    """Whether a cell is decided, its number of rounds, and flowzoo's ratio to its bound."""
    results = of_cell(cell, results)
    rounds = sum(result["peer"] == performance.OURS for result in results)
    compared = performance.compare(performance.median_of_rounds(results))
    lead = min((row["ratio"] / row["must"] for row in compared), default=0.0)
    return rounds >= SETTLED_AFTER and lead >= SETTLED_BY, rounds, lead


def scout(cells: list[dict], end: float, arguments: argparse.Namespace) -> None:
    """Runs each other library once in each of its variants, in the cells without results."""
    for cell in cells:
        if contenders(cell) or time.monotonic() >= end:
            continue
        everyone: list[tuple[str, str | None]] = [(library, None) for library in LIBRARIES]
        if cell["task"] == "cold":  # Cold starts are compared with plain TFP only.
            everyone = [("tfp", None)]
        elif cell["task"] == "fit":  # Only the variant that trains fastest.
            trained = scouted({"task": "train", "case": cell["case"], "dim": 6, "batch": 512})
            everyone = [(row["peer"], row["variant"]) for row in trained]
        elif cell["dim"] == 784:
            everyone = [*contenders({**cell, "dim": 64, "batch": 512})]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "results.jsonl"
            for library, variant in everyone:
                measure(cell, library, variant, out, arguments)
            found = [each for each in performance.measured(out) if each.get("value") is not None]
        rows = records.read(CONTENDERS)
        for each in found:
            chosen = {name: each[name] for name in ("peer", "variant", "value", "unit")}
            rows.append({name: str(cell.get(name, "")) for name in CELL} | chosen)
        records.write(CONTENDERS, rows)


def contenders(cell: dict) -> list[tuple[str, str]]:
    """The other libraries for the rounds, with their variants, the fastest first."""
    rows = scouted(cell)

    def near(row):  # Nats have no ratio.
        return cell["task"] == "fit" or 1 / NEAR <= float(row["value"]) / float(rows[0]["value"]) <= NEAR

    return [(row["peer"], row["variant"]) for row in rows if near(row)][:MOST]


def scouted(cell: dict) -> list[dict[str, str]]:
    """Results of scouting in a cell, the best first."""
    rows = [row for row in records.read(CONTENDERS) if tuple(row[name] for name in CELL) == key(cell)]
    less = cell["task"] in ("cold", "fit")
    return sorted(rows, key=lambda row: float(row["value"]), reverse=not less)


def key(cell: dict) -> tuple[str, ...]:
    """The columns that identify a cell in a CSV."""
    return tuple(str(cell.get(name, "")) for name in CELL)


def measure(
    cell: dict, library: str, variant: str | None, out: Path, arguments: argparse.Namespace, seed: int = 0
) -> None:
    """Measures one library in one cell with run_all.py, which appends to the file."""
    command = [sys.executable, str(arguments.peers / "run_all.py"), "--rounds", "1"]
    command += ["--variant-timeout", "120"]
    command += ["--seconds", str(arguments.seconds), "--fit-seconds", str(arguments.fit_seconds)]
    command += ["--tasks", cell["task"], "--cases", cell["case"], "--batch", str(cell["batch"])]
    command += ["--glow-dims" if cell["case"] == "glow" else "--dims", str(cell["dim"])]
    command += ["--data", cell["data"]] if "data" in cell else []
    command += ["--variant", variant] if variant else []
    if (cell["case"].rstrip("0123456789"), cell["task"]) in PASS_A_COLUMN and cell["dim"] > 6:
        command += ["--skip-variants", "compile"]
    program = arguments.flowzoo if library == performance.OURS else peer_program(library, arguments.peers)
    command += ["--out", str(out), "--peers", "--extra", f"{library}={program} --seed {seed}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def peer_program(library: str, peers: Path) -> str:
    """The command that run_all.py, which has no seed option, runs for a library."""
    import run_all

    return f"{run_all.PY[run_all.PEERS[library]]} {peers.resolve() / f'bench_{library}.py'}"


if __name__ == "__main__":
    main()
