"""Initial biases of hidden layers, zero or spread out: gap to the true density, benchmarks/start.csv.

    python benchmarks/start.py [--steps 1000]

This is the measurement for ADR 13. Every flow trains from both starts on the same rows in the same order, at
a constant rate of 1e-3. The table has the mean over seeds with its standard error. Takes about five minutes
on two cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import records

import flowzoo
from flowzoo.conditioners import MADE
from flowzoo.data import toy

MODELS = {
    "realnvp": {"steps": 8, "hidden_units": (128, 128), "actnorm": False},
    "maf": {"steps": 5, "hidden_units": (128, 128), "actnorm": False},
    "nsf": {"steps": 5, "hidden_units": (128, 128)},
}
DENSITIES = ("two_moons", "checkerboard")
BATCH = 512


def main() -> None:
    """Trains all flows and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for density in DENSITIES:
        for model in MODELS:
            row = {"density": density, "model": model, "steps": str(arguments.steps)}
            for start in ("zero", "spread_out"):
                gaps = [gap(density, model, start, seed, arguments.steps) for seed in range(arguments.seeds)]
                row[start] = f"{np.mean(gaps):.3f}"
                row[f"{start}_error"] = f"{np.std(gaps, ddof=1) / len(gaps) ** 0.5:.3f}"
            print(row, flush=True)
            rows.append(row)
    records.write(Path(__file__).with_name("start.csv"), rows)


def gap(density: str, model: str, start: str, seed: int, steps: int) -> float:
    """Mean gap in nats between the true and the learned log-density, over 10,000 test points."""
    keras.utils.set_random_seed(seed)
    flow = flowzoo.create_model(model, (2,), **MODELS[model])
    if start == "zero":
        start_at_zero(flow, seed)
    train, _ = toy.sample(density, 100 * BATCH, seed=0)
    test, _ = toy.sample(density, 10_000, seed=2)
    flow.compile(keras.optimizers.Adam(1e-3))
    flow.fit(train, batch_size=BATCH, epochs=max(steps // 100, 1), verbose=0)
    return float(np.mean(toy.log_density(density, test) - flow.log_prob(test).numpy()))


def start_at_zero(flow: flowzoo.Flow, seed: int) -> None:
    """Sets He-normal kernels, scaled by each unit's number of inputs, and zero biases, as before ADR 13."""
    rng = np.random.default_rng(seed)
    for kernel, bias, inputs in hidden_layers(flow):
        kernel.assign(rng.standard_normal(kernel.shape) * np.sqrt(2.0 / inputs))
        bias.assign(np.zeros(bias.shape))


def hidden_layers(flow: flowzoo.Flow) -> Iterator[tuple]:
    """Kernel, bias and number of inputs of every hidden layer."""
    for layer in flow.transforms:
        conditioner = getattr(layer, "conditioner", None)
        if isinstance(conditioner, MADE):
            weights = zip(conditioner.kernels, conditioner.biases, conditioner.network.masks, strict=True)
            yield from ((k, b, np.maximum(mask.sum(0), 1.0)) for k, b, mask in list(weights)[:-1])
        elif conditioner is not None:
            layers = getattr(conditioner, "hidden", None) or [
                conditioner.first,
                *(first for first, _ in conditioner.inner),
            ]
            yield from ((dense.kernel, dense.bias, dense.kernel.shape[0]) for dense in layers)


if __name__ == "__main__":
    main()
