"""Training speed of images on this CPU: networks in float32 or bfloat16, splines op by op or compiled.

    python benchmarks/images.py [--rounds 2]

Measures images per second of the training step that `fit` runs, 28 x 28 pixels, batches of 64, for Glows and
the RealNVP of zoo_configs/realnvp_mnist.yaml. Each case runs in its own process, and the cases take turns.
Takes about five minutes; needs an idle machine. Writes benchmarks/images.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

BATCH, SHAPE = 64, (28, 28, 1)
SPLINES = {"coupling": "spline", "residual": True}
FLOWS = {
    "glow, 64 channels": ("glow", {}),
    "glow, 128 channels": ("glow", {"channels": 128}),
    "glow_mnist": ("glow", SPLINES),
    "realnvp_mnist": ("realnvp", {"blocks": 1}),
}
# Precision of the networks, and jit_compile: False runs everything op by op.
WAYS = [("float32", "auto"), ("mixed_bfloat16", "auto"), ("mixed_bfloat16", False)]


def main() -> None:
    """Measures all cases, each in its own process, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(measure(*arguments.case))
        return
    rows = []
    for number in range(arguments.rounds):
        for name in FLOWS:
            for way in WAYS:
                command = [sys.executable, __file__, "--case", json.dumps([name, *way])]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append([number + 1, name, *way, round(float(done.stdout))])
                print(*rows[-1], flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["round", "flow", "precision", "jit_compile", "images_a_second"])
        writer.writerows(rows)


def measure(name: str, precision: str, jit_compile: str | bool, seconds: float = 6.0) -> float:
    """Images per second of a flow's training step, in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np
    import tensorflow as tf

    import flowzoo

    model, options = FLOWS[name]
    flow = flowzoo.create_model(model, SHAPE, dtype=precision, **options)
    flow.compile(keras.optimizers.Adam(1e-4, global_clipnorm=1.0), jit_compile=jit_compile)
    x = np.random.default_rng(0).integers(0, 256, (BATCH, *SHAPE), np.uint8)
    flow.fit(x, batch_size=BATCH, verbose=0)
    batches = iter(tf.data.Dataset.from_tensors(x).repeat())
    float(flow.train_function(batches)["loss"])
    steps, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        float(flow.train_function(batches)["loss"])
        steps += 1
    return steps * BATCH / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
