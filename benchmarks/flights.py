"""RealNVP against a full-covariance Gaussian on the NYC flights table, through the public API.

    python benchmarks/flights.py --data ../shared/data/tabular/nyc_flights.npy

The table is integer-valued, so both densities are of dequantised rows: test nats per row, higher is better.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import keras
import numpy as np
from scipy.stats import multivariate_normal

import flowzoo


def main() -> None:
    """Fits, scores, saves, loads and exports; prints the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data/tabular/nyc_flights.npy")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    train, validation, test = split(np.load(arguments.data))
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", event_shape=train.shape[1:], dequantize=1.0)
    start = time.perf_counter()
    flow.fit(train, epochs=arguments.epochs, validation_data=(validation,), verbose=2)
    print(f"fit: {len(train)} rows, {arguments.epochs} epochs, {time.perf_counter() - start:.0f} s")
    log_prob = flow.log_prob(test).numpy()
    print(f"realnvp       test nats {log_prob.mean():.3f} +- {log_prob.std() / len(test) ** 0.5:.3f}")
    print(f"full Gaussian test nats {gaussian(train, test):.3f}")
    print("samples:", np.floor(flow.sample(3, seed=0).numpy()).astype(int).tolist())
    with tempfile.TemporaryDirectory() as directory:
        flow.save(f"{directory}/flow.keras")
        again = keras.saving.load_model(f"{directory}/flow.keras").log_prob(test[:1000])
        print("after loading, largest difference:", float(np.abs(again - log_prob[:1000]).max()))
        print("exported:", flow.export(f"{directory}/models/flights").name)


def split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows: 80 / 10 / 10, shuffled with a fixed seed."""
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    tenth = len(rows) // 10
    return rows[2 * tenth :], rows[tenth : 2 * tenth], rows[:tenth]


def gaussian(train: np.ndarray, test: np.ndarray) -> float:
    """Mean test log-density of the maximum-likelihood Gaussian of the dequantised rows."""
    noise = np.random.default_rng(1)
    train, test = (rows + noise.random(rows.shape) for rows in (train, test))
    return float(multivariate_normal(train.mean(0), np.cov(train.T)).logpdf(test).mean())


if __name__ == "__main__":
    main()
