"""Every vector architecture on the toy densities, after the same training time: docs/toys.md.

    python benchmarks/toys.py --seconds 30

Writes benchmarks/toys.csv, docs/toys.md and, for each density, a picture of learned densities and samples.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import records
from budget import fit_for
from matplotlib.figure import Figure

import flowzoo
from flowzoo.data import toy

ROOT = Path(__file__).resolve().parents[1]
DENSITIES = ("two_moons", "pinwheel", "checkerboard")
MODELS: dict[str, tuple[str, dict]] = {
    "nsf": ("nsf", {}),
    "nsf (autoregressive)": ("nsf", {"autoregressive": True}),
    "maf": ("maf", {"steps": 12, "hidden_units": (64, 64)}),
    "iaf": ("iaf", {"steps": 12, "hidden_units": (64, 64)}),
    "realnvp": ("realnvp", {}),
    "glow": ("glow", {}),
    "nice": ("nice", {}),
    "planar": ("planar", {"steps": 32}),
    "radial": ("radial", {"steps": 32}),
}
TRAIN, VALIDATION, TEST = 200_000, 10_000, 10_000


def main() -> None:
    """Trains the selected models and writes the CSV, the page and the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="training time of each model")
    parser.add_argument("--densities", nargs="+", default=DENSITIES)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=ROOT)
    arguments = parser.parse_args()
    rows = []
    for density in arguments.densities:
        flows = {}
        for model in arguments.models:
            row, flows[model] = measure(density, model, arguments.seconds)
            print(row, flush=True)
            rows.append(row)
        (arguments.out / "docs/images").mkdir(parents=True, exist_ok=True)
        draw(density, flows, arguments.out / f"docs/images/toy_{density}.png")
    records.write(arguments.out / "benchmarks/toys.csv", rows)
    (arguments.out / "docs/toys.md").write_text(page(rows, arguments))


def measure(density: str, model: str, seconds: float) -> tuple[dict, flowzoo.Flow]:
    """Trains a model; returns its test nats with the gap to the true density, and the flow."""
    keras.utils.set_random_seed(0)
    name, options = MODELS[model]
    flow = flowzoo.create_model(name, (2,), **options)
    train, _ = toy.sample(density, TRAIN, seed=0)
    validation, _ = toy.sample(density, VALIDATION, seed=1)
    test, _ = toy.sample(density, TEST, seed=2)
    steps = fit_for(flow, train, validation, seconds)
    log_prob = flow.log_prob(test).numpy()
    # The gap to the true density on the same points: it varies far less than the log-density itself.
    gap = toy.log_density(density, test) - log_prob
    row = {
        "density": density,
        "model": model,
        "test_nats": round(float(log_prob.mean()), 4),
        "gap": round(float(gap.mean()), 4),
        "gap_error": round(float(gap.std() / len(test) ** 0.5), 4),
        "entropy": round(toy.entropy(density), 4),
        "steps": steps,
        "parameters": flow.count_params(),
    }
    return row, flow


def draw(density: str, flows: dict, path: Path) -> None:
    """Draws a column for each model, density above samples; the true density comes first."""
    data, _ = toy.sample(density, 5000, seed=3)
    low, high = data.min(0) - 0.3, data.max(0) + 0.3
    xs, ys = (np.linspace(low[i], high[i], 200) for i in range(2))
    grid = np.stack(np.meshgrid(xs, ys), axis=-1)
    columns = {"true density": (np.exp(toy.log_density(density, grid)), data)}
    for model, flow in flows.items():
        p = np.exp(flow.log_prob(grid.reshape(-1, 2).astype("float32")).numpy()).reshape(200, 200)
        columns[model] = (p, flow.sample(5000, seed=0).numpy())
    top = np.quantile(columns["true density"][0], 0.995)
    figure = Figure(figsize=(2.0 * len(columns), 4.2), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (upper, lower), (title, (p, samples)) in zip(axes.T, columns.items(), strict=True):
        upper.set_title(title, fontsize=9)
        upper.imshow(
            p, origin="lower", extent=(low[0], high[0], low[1], high[1]), vmin=0, vmax=top, aspect="auto"
        )
        lower.scatter(samples[:, 0], samples[:, 1], s=1, alpha=0.3, linewidths=0)
        lower.set_xlim(low[0], high[0])
        lower.set_ylim(low[1], high[1])
        for each in (upper, lower):
            each.set_xticks([])
            each.set_yticks([])
    figure.savefig(path)


def page(rows: list[dict], arguments: argparse.Namespace) -> str:
    """The table as a page of the documentation."""
    lines = [
        "# Toy densities",
        "",
        f"Written by `python benchmarks/toys.py --seconds {arguments.seconds:g}`; do not edit. Each model "
        f"was trained for {arguments.seconds:g} seconds (warm clock, batch 512, Adam 1e-3 with a cosine "
        f"schedule, best weights on validation) on {machine()}. *Gap*: mean of true minus learned "
        f"log-density over {TEST:,} test points (fixed seed), in nats, with its standard error; 0 is "
        "perfect. The script lists the options that differ from the defaults.",
        "",
    ]
    for density in dict.fromkeys(row["density"] for row in rows):
        own = [row for row in rows if row["density"] == density]
        lines += [
            f"## {density}",
            "",
            f"Entropy {own[0]['entropy']:.4f} nats.",
            "",
            "| model | test nats | gap | steps | parameters |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['model']} | {row['test_nats']:.4f} | {row['gap']:.4f} ± {row['gap_error']:.4f} "
            f"| {row['steps']:,} | {row['parameters']:,} |"
            for row in sorted(own, key=lambda row: row["gap"])
        ]
        lines += ["", f"![learned densities above samples](images/toy_{density}.png)", ""]
    return "\n".join(lines)


def machine() -> str:
    """The machine and versions behind the figures."""
    versions = [f"{name} {version(name)}" for name in ("tensorflow", "keras", "flowzoo")]
    return ", ".join([f"{os.cpu_count()} cores ({platform.machine()})", *versions])


if __name__ == "__main__":
    main()
