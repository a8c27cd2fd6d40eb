"""Comparison with the other libraries: benchmarks/results.csv, the tables and picture of docs/performance.md.

    python benchmarks/rounds.py --peers ../shared/peers --out peers-results.jsonl
    python benchmarks/performance.py peers-results.jsonl

Reads the results of the peers' run_all.py, run directly or by rounds.py, takes the median over the rounds,
and replaces the text between the markers of docs/performance.md. It ignores rounds during which other
processes took more than 0.15 of a core, if other rounds remain.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
from collections import defaultdict
from pathlib import Path

import records
from matplotlib.figure import Figure

from flowzoo.storage.provenance import machine

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs/performance.md", ROOT / "benchmarks/results.csv"
MEMORY, PIPELINE = ROOT / "benchmarks/memory.csv", ROOT / "benchmarks/pipeline.csv"
VARIANTS, COLDSTART = ROOT / "benchmarks/variants.csv", ROOT / "benchmarks/coldstart.csv"
PICTURE = ROOT / "docs/images/performance.png"
OURS = "flowzoo"
COLUMNS = ("task", "case", "dim", "data", "peer", "variant", "rounds", "value", "unit", "version")
TITLES = {
    "train": "Training: rows per second, one step at a time",
    "log_prob": "Densities: rows per second",
    "sample": "Samples: rows per second",
    "cold": "Cold start, compared with plain TFP: seconds from the start of the process to the first density",
    "fit": "Test nats after the same time in `fit`",
}
# The fraction of the fastest variant's rows per second that the default should reach.
LEAST_SHARE = 0.9
AUTOREGRESSIVE = {21: 5.0, 43: 8.0, 64: 10.0}
Cell = tuple[str, str, object]


def main() -> None:
    """Writes the CSV, the page and the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", help="files of JSON lines from run_all.py")
    results = [one for path in parser.parse_args().results for one in measured(path)]
    medians = median_of_rounds(results)
    records.write(RESULTS, medians)
    replace_between_markers("performance", "\n".join([page(medians), *cold_parts(results)]))
    if MEMORY.exists():
        replace_between_markers("memory", memory_table(records.read(MEMORY)))
    if COLDSTART.exists():
        replace_between_markers("coldstart", parts_table(records.read(COLDSTART)))
    if VARIANTS.exists():
        replace_between_markers("variants", variants_table(records.read(VARIANTS)))
    if PIPELINE.exists():
        replace_between_markers("pipeline", pipeline_table(records.read(PIPELINE), medians))
    draw(medians)


def measured(path: Path) -> list[dict]:
    """The results in a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def median_of_rounds(results: list[dict]) -> list[dict]:
    """One row for each task, case, size, data and peer."""
    cells: dict[tuple, list[dict]] = defaultdict(list)
    for record in results:
        if record.get("value") is not None:
            key = (record["task"], record["case"], record["dim"], record.get("data"), record["peer"])
            cells[key].append(record)
    medians = []
    for key, rounds in cells.items():
        quiet = [r for r in rounds if (r.get("other_cores") or 0) <= 0.15] or rounds
        variants = [r.get("variant") for r in quiet]
        medians.append(
            {
                **dict(zip(COLUMNS, key, strict=False)),
                "variant": max(set(variants), key=variants.count),
                "rounds": len(quiet),
                "value": float(f"{statistics.median(r['value'] for r in quiet):.5g}"),
                "unit": quiet[0]["unit"],
                "version": quiet[0].get("version", ""),
            }
        )
    return medians


def must(task: str, case: str, dim: object) -> float | None:
    """The project's bound on the ratio to the best peer."""
    slow = {"maf": "sample", "maf512": "sample", "iaf": "log_prob"}.get(case) == task
    if case == "maf512" and slow:
        return {64: 15.0, 784: 100.0}.get(dim, 1.0)
    if slow:
        return AUTOREGRESSIVE.get(dim, 1.0)
    return 1.2 if (task, case) == ("train", "glow") else 1.0


def compare(medians: list[dict]) -> list[dict]:
    """flowzoo and the best of the others, for each cell that both have; a ratio above 1 means faster."""
    cells: dict[Cell, dict[str, float]] = defaultdict(dict)
    for row in medians:
        cells[row["task"], row["case"], row["data"] or row["dim"]][row["peer"]] = row["value"]
    compared = []
    for (task, case, dim), values in cells.items():
        others = {peer: value for peer, value in values.items() if peer != OURS}
        if OURS not in values or not others:
            continue
        less = task in ("cold", "fit")
        best = (min if less else max)(others, key=others.__getitem__)
        if task == "cold" and "tfp" in others:
            best = "tfp"
        ratio = others[best] / values[OURS] if less else values[OURS] / others[best]
        compared.append(
            {
                "task": task,
                "case": case,
                "dim": dim,
                "ours": values[OURS],
                "best": best,
                "theirs": others[best],
            }
            | {"ratio": ratio, "must": must(task, case, dim), "others": others}
        )
    return compared


def missed(row: dict) -> bool:
    """Whether a row misses its bound; nats may be worse by 0.005."""
    return row["ours"] > row["theirs"] + 0.005 if row["task"] == "fit" else row["ratio"] < row["must"]


def page(medians: list[dict]) -> str:
    """The generated part of docs/performance.md."""
    compared = compare(medians)
    wrong = [row for row in compared if missed(row)]
    rounds = {row["rounds"] for row in medians}
    versions = {row["peer"]: row["version"] for row in medians}
    lines = [
        f"Machine: {machine()}, {platform.system()}, Python {platform.python_version()}. "
        f"Rounds per cell: {min(rounds)} to {max(rounds)}. Versions: "
        + "; ".join(f"{peer} {version}" for peer, version in sorted(versions.items()))
        + ".",
        "",
        "### Missed bounds",
        "",
        *(table(wrong) if wrong else ["None: every cell below reaches its bound."]),
        "",
    ]
    for task, title in TITLES.items():
        rows = [row for row in compared if row["task"] == task]
        if not rows:
            continue
        lines += [f"### {title}", "", *table(rows), ""]
        vectors = [row["ratio"] for row in rows if row["must"] == 1.0]
        if task in ("train", "log_prob", "sample") and vectors:
            mean = math.exp(statistics.fmean(map(math.log, vectors)))
            lines += [f"Geometric mean of the rows with bound 1: **{mean:.2f}x**.", ""]
    return "\n".join(lines)


def cold_parts(results: list[dict]) -> list[str]:
    """The parts of a cold start, as a table."""
    head = ["case", "", "Python and imports", "building the flow", "the first density"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    cold = [result for result in results if result["task"] == "cold" and result.get("value") is not None]
    for case, peer in sorted({(result["case"], result["peer"]) for result in cold}):
        rounds = [result for result in cold if (result["case"], result["peer"]) == (case, peer)]
        seconds = [
            f"{statistics.median(result[part] for result in rounds):.2f} s"
            for part in ("import_s", "build_s", "first_s")
        ]
        lines.append("| " + " | ".join([case, peer, *seconds]) + " |")
    return [*lines, ""] if cold else []


def table(rows: list[dict]) -> list[str]:
    """Rows as a Markdown table; the ratio is to the best of the others, of cold starts to plain TFP."""
    lines = ["| work | case | D | flowzoo | best other | ratio | bound |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["task"] == "fit":
            ratio, bound = f"{row['ours'] - row['theirs']:+.4f}", "+0.005"
        else:
            ratio, bound = f"{row['ratio']:.2f}x", f"{row['must']:g}x"
        ours, theirs = (quantity(row[key]) for key in ("ours", "theirs"))
        cells = [row["task"], row["case"], row["dim"], ours, f"{row['best']} {theirs}", f"**{ratio}**", bound]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def quantity(value: float) -> str:
    """A number with four digits, and k or M for thousands or millions."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def draw(medians: list[dict]) -> None:
    """Plots rows per second against D for flowzoo and the others, for each case and task."""
    cases = ("realnvp", "maf", "iaf", "nsf")
    names = sorted({row["peer"] for row in medians})
    dims = sorted({row["dim"] for row in medians if row["case"] in cases and row["task"] == "log_prob"})
    figure = Figure(figsize=(13, 8), layout="constrained")
    grid = figure.subplots(3, len(cases), sharex=True)
    for i, task in enumerate(("train", "log_prob", "sample")):
        for axes, case in zip(grid[i], cases, strict=True):
            peers = {row["peer"] for row in medians if (row["task"], row["case"]) == (task, case)}
            for peer in sorted(peers - {OURS}) + [OURS] * (OURS in peers):
                points = sorted(
                    (row["dim"], row["value"])
                    for row in medians
                    if (row["task"], row["case"], row["peer"]) == (task, case, peer)
                )
                style = {"color": "black", "linewidth": 2.5} if peer == OURS else {"alpha": 0.8}
                style = {"color": f"C{names.index(peer)}"} | style
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=peer, **style)
            axes.set(xscale="log", yscale="log", title=f"{task}, {case}")
            axes.set_xticks(dims, dims)
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axes.grid(alpha=0.3)
            if not peers:
                axes.set_visible(False)
    drawn = {}
    for axes in figure.axes:
        lines, labels = axes.get_legend_handles_labels()
        drawn |= dict(zip(labels, lines, strict=True))
    shown = sorted(drawn, key=lambda label: (label == OURS, label))
    figure.legend([drawn[label] for label in shown], shown, loc="outside upper center", ncols=len(shown))
    for axes in grid[-1]:
        axes.set_xlabel("D")
    for axes in grid[:, 0]:
        axes.set_ylabel("rows per second")
    figure.savefig(PICTURE, dpi=110)


def variants_table(rows: list[dict]) -> str:
    """Results of benchmarks/variants.py, with the cells where the default is slower by more than a tenth."""
    shares = [float(row["default_over_fastest"]) for row in rows]
    slow = [row for row, share in zip(rows, shares, strict=True) if share < LEAST_SHARE]
    within = (
        f"In {len(rows) - len(slow)} of {len(rows)} cells ([variants.csv](../benchmarks/variants.csv)) the "
        f"default is within a tenth of the fastest variant. In {shares.count(1.0)} it is the fastest"
    )
    if not slow:
        return f"{within}, and its lowest ratio to the fastest is {min(shares):.2f}."
    head = ["work", "case", "D", "default", "XLA", "graph", "a step per call", "default / fastest", "rounds"]
    lines = [within + ". The others:", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *["| " + " | ".join(row.values()) + " |" for row in slow]])


def parts_table(rows: list[dict]) -> str:
    """Results of benchmarks/coldstart.py, with sums, as a table."""
    cases = [name for name in rows[0] if name != "part"]
    lines = ["| milliseconds | " + " | ".join(cases) + " |", "|---" * (1 + len(cases)) + "|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    sums = [f"**{sum(float(row[case]) for row in rows):.0f}**" for case in cases]
    return "\n".join([*lines, "| " + " | ".join(["sum", *sums]) + " |"])


def memory_table(rows: list[dict]) -> str:
    """Results of benchmarks/memory.py, one line per depth."""
    lines = [
        "| couplings | KiB per row | memory-efficient | step, ms | memory-efficient | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for plain, efficient in zip(rows[::2], rows[1::2], strict=True):
        ratio = float(efficient["step_ms"]) / float(plain["step_ms"])
        cells = [plain["couplings"], plain["kib_a_row"], efficient["kib_a_row"]]
        cells += [plain["step_ms"], efficient["step_ms"], f"{ratio:.2f}x"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pipeline_table(rows: list[dict], medians: list[dict]) -> str:
    """Results of benchmarks/pipeline.py, compared with the rows that flowzoo's training consumes."""
    ours = {
        (row["case"], row["dim"]): row["value"]
        for row in medians
        if (row["task"], row["peer"]) == ("train", OURS)
    }
    images = max(value for (case, _), value in ours.items() if case == "glow")
    networks = max(value for (case, _), value in ours.items() if case in ("realnvp", "maf", "nsf"))
    lines = ["| source | rows | rows/s | × training | peak, MiB | growth |", "|---|---|---|---|---|---|"]
    for row in rows:
        growth = f"{float(row['peak_growth']):+.1%}" if row["peak_growth"] else ""
        value = float(row["value"])
        share = value / (images if row["case"] == "images" else networks)
        cells = [f"`{row['case']}`", f"{int(row['rows']):,}", quantity(value), f"{share:.0f}x"]
        lines.append("| " + " | ".join([*cells, row["peak_mib"], growth]) + " |")
    planar = ours.get(("planar", 2))
    tiny = f" (a planar flow of two columns, with very little work: {quantity(planar)})" if planar else ""
    lines += [
        "",
        f"*× training*: ratio to the training speed of the fastest flow with a network, {quantity(networks)} "
        f"rows per second{tiny}; for images, to that of Glow, {quantity(images)}. *Growth*: growth of the "
        "peak memory after a tenth of the rows.",
    ]
    return "\n".join(lines)


def replace_between_markers(name: str, text: str) -> None:
    """Replaces a generated part of the page."""
    begin, end = f"<!-- begin {name}.py -->", f"<!-- end {name}.py -->"
    before, _, rest = PAGE.read_text().partition(begin)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
