"""Peak memory and time of a training step against depth, with and without `memory_efficient`.

    python benchmarks/memory.py [--depths 4 8 16 32 64] [--out benchmarks/memory.csv]

A RealNVP of each depth (D = 64, hidden 128x2) trains on one batch, with the steps of `fit`, in its own
process. TensorFlow keeps the peak memory of its steps, so the resident set after some steps measures it. The
difference between batches of 16,384 and 512 rows, per row, is the cost of the rows: activations, without
weights, their gradients, Adam's moments and the compiler.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROWS, FEW_ROWS, SIZE = 16384, 512, 64


def main() -> None:
    """Runs the grid, one process after the other, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--child", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    rows = []
    for depth in arguments.depths:
        for efficient in (0, 1):
            many, few = (in_a_child(depth, efficient, count) for count in (ROWS, FEW_ROWS))
            kib = (many["kib"] - few["kib"]) / (ROWS - FEW_ROWS)
            rows.append([depth, bool(efficient), round(kib, 2), round(many["ms"], 1)])
            print("couplings {}, memory_efficient {}: {} KiB/row, {} ms/step".format(*rows[-1]), flush=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["couplings", "memory_efficient", "kib_a_row", "step_ms"])
        writer.writerows(rows)


def in_a_child(*case: int) -> dict:
    """The result of `measure` in its own process."""
    command = [sys.executable, __file__, "--child", *map(str, case)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(depth: int, efficient: int, rows: int) -> dict:
    """Resident KiB and milliseconds per step, in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    import flowzoo

    flow = flowzoo.create_model("realnvp", (SIZE,), steps=depth, preprocessing="none", actnorm=False)
    flow.adapted.assign(1.0)
    flow.compile("adam", steps_per_execution=1, memory_efficient=bool(efficient))
    x = np.random.default_rng(0).standard_normal((rows, SIZE)).astype("float32")
    batches = tf.data.Dataset.from_tensors(x).repeat()
    flow.fit(batches, steps_per_epoch=1, verbose=0)
    iterator, times = iter(batches), []
    for _ in range(5):
        start = time.perf_counter()
        float(flow.train_function(iterator)["loss"])
        times.append(1e3 * (time.perf_counter() - start))
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return {"kib": kib, "ms": statistics.median(times)}


if __name__ == "__main__":
    main()
