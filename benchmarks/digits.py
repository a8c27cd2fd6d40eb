"""The recipes of scikit-learn's digits compared with variants of them: docs/digits.md.

    python benchmarks/digits.py [RECIPE ...]

Each recipe trains unchanged, as the first of its family, and with other options. The page sorts a family by
the validation metric, which selects the recipe, and also shows the test metric. A line takes about two
minutes on two idle cores. Results of other recipes stay in benchmarks/digits.csv.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import records

from flowzoo.recipes import train
from flowzoo.recipes.config import load_config
from flowzoo.storage.provenance import machine

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "benchmarks/digits.csv", ROOT / "docs/digits.md"
STEPS, WIDTHS = "model.options.steps={}", "model.options.hidden_units=[{0}, {0}]"
RELATIVES = {
    "nsf_digits": {
        "5 steps, width 256": [],
        "3 steps, width 256": [STEPS.format(3)],
        "5 steps, width 128": [WIDTHS.format(128)],
        "5 steps, width 256, couplings": ["model.options.autoregressive=false"],
        "5 steps, width 256, no dropout": ["model.options.dropout=0"],
    },
    "iaf_digits": {
        "8 steps, width 256, LU-linear": [],
        "12 steps, width 256": [STEPS.format(12), "model.options.linear=none"],
        "8 steps, width 256": ["model.options.linear=none"],
        "4 steps, width 256": [STEPS.format(4), "model.options.linear=none"],
        "8 steps, width 128": [WIDTHS.format(128), "model.options.linear=none"],
    },
}


def main(recipes: list[str]) -> None:
    """Trains the given recipes and writes the CSV and the page."""
    rows = [row for row in records.read(TABLE) if row["recipe"] not in recipes]
    for recipe in recipes:
        for relative, overrides in RELATIVES[recipe].items():
            config = load_config(ROOT / f"zoo_configs/{recipe}.yaml", overrides)
            with tempfile.TemporaryDirectory() as run:
                metrics = train(config, Path(run) / "run", verbose=False)
                history = records.read(Path(run) / "run/history.csv")
            test = metrics["test"]
            rows.append(
                {
                    "recipe": recipe,
                    "relative": relative,
                    "validation": f"{min(float(epoch['val_bits_per_dim']) for epoch in history):.4f}",
                    "bits_per_dim": f"{test['bits_per_dim']:.4f}",
                    "error": f"{test['bits_per_dim_se']:.4f}",
                    "parameters": metrics["parameters"],
                    "seconds": f"{metrics['training_seconds']:.0f}",
                    "machine": machine(),
                }
            )
            print(rows[-1], flush=True)
            write(rows)


def write(rows: list[dict]) -> None:
    """Writes the CSV, and the page from it."""
    records.write(TABLE, rows)
    lines = [
        "# Digits",
        "",
        "Written by `python benchmarks/digits.py`; do not edit. Recipes of scikit-learn's 1,797 digits of",
        "8 × 8 pixels, 17 levels, unchanged (in bold) and with other options: bits/dim, lower is better.",
        "The validation rows select the published recipe; the test rows are for information only.",
    ]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        lines += ["", f"## {recipe}", ""]
        lines += ["| | validation | test | parameters | seconds |", "|---|---|---|---|---|"]
        family = [row for row in rows if row["recipe"] == recipe]
        for row in sorted(family, key=lambda row: float(row["validation"])):
            name = row["relative"]
            name = f"**{name}**" if RELATIVES[recipe].get(name) == [] else name
            lines.append(
                f"| {name} | {row['validation']} | {row['bits_per_dim']} ± {row['error']} "
                f"| {int(row['parameters']):,} | {row['seconds']} |"
            )
    machines = ", ".join(dict.fromkeys(row["machine"] for row in rows))
    lines += ["", f"Trained on {machines}, which ran other work at times.", ""]
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:] or list(RELATIVES))
