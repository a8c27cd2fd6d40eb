"""Overhead of one call in milliseconds: Python, TensorFlow's call, passing the weights, the program.

    python benchmarks/overhead.py [--case planar] [--dim 2]

The figures are medians of one process. The first lines are the methods that users call. Then come the program
alone, called as flowzoo calls it and as a plain `tf.function`, and the cost of any TensorFlow call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import flowzoo

BATCH = 512


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="planar", help="an architecture for vectors")
    parser.add_argument("--dim", type=int, default=2)
    arguments = parser.parse_args()
    flow = flowzoo.create_model(arguments.case, (arguments.dim,), preprocessing="none")
    rows = np.random.default_rng(0).standard_normal((BATCH, arguments.dim)).astype("float32")
    x, seeds = tf.constant(rows), flowzoo.random.row_seeds(0, BATCH)
    weights = [variable.value for variable in flow.variables if variable.value.dtype == x.dtype]
    compiled = flow._row_function("log_density")

    method = tf.function(flow.density.log_density, jit_compile=True, autograph=False)

    @tf.function(jit_compile=True, autograph=False)
    def reads_the_weights(x):
        return x + tf.add_n([tf.reshape(weight, [-1])[0] for weight in weights])

    @tf.function(jit_compile=True, autograph=False)
    def empty(x):
        return x + 1.0

    calls: dict[str, Callable] = {
        "flow.sample": lambda: flow.sample(seed=seeds).numpy(),
        "flow.log_prob": lambda: flow.log_prob(x).numpy(),
        "its compiled function": lambda: compiled(x).numpy(),
        "flow.density.log_density as a tf.function": lambda: method(x).numpy(),
        f"a function that reads the {len(weights)} weights": lambda: reads_the_weights(x).numpy(),
        "an empty function": lambda: empty(x).numpy(),
    }
    for name, call in calls.items():
        print(f"{name:<40} {median_ms(call):.3f} ms")


def median_ms(call: Callable, count: int = 500) -> float:
    """Median milliseconds of a call, after warm-up calls."""
    times = []
    for _ in range(count + 50):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[50:])


if __name__ == "__main__":
    main()
