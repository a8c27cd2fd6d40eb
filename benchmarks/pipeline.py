"""The input pipeline alone: rows/s of each source, and memory over a long stream.

    python benchmarks/pipeline.py                      # all cases, into benchmarks/pipeline.csv; 10 minutes
    python benchmarks/pipeline.py --case vectors_npy   # one case, as a JSON line

`vectors_npy` and `vectors_tfrecord` are files of `--rows` rows of `--dim` columns, kept in memory after the
first pass. `*_stream` are the same with cache=False, read from disk in each epoch. `images` are 28 x 28
uint8. `stream` is a generator and `tfrecord_long` are TFRecords whose rows are never kept in memory. A
TFRecord file has at most a million rows; for more rows, the same file is read repeatedly. The reported rows/s
are those of the second epoch (of the first for the last two cases), shuffled, in batches of `--batch`.
`peak_growth` is the growth of the process's peak memory after a tenth of the rows, when the shuffle pool has
been full. It is null if the case has too few rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import records

CASES = {
    "vectors_npy": 5_000_000,
    "vectors_npy_stream": 5_000_000,
    "vectors_tfrecord": 5_000_000,
    "vectors_tfrecord_stream": 2_000_000,
    "images": 60_000,
    "stream": 100_000_000,
    "tfrecord_long": 100_000_000,
}
LONG = ("stream", "tfrecord_long")
BLOCK = 65_536
MOST_WRITTEN = 1_000_000


def main() -> None:
    """Runs one case in this process, or each case in its own process."""
    arguments = parse()
    if arguments.case:
        arguments.rows = arguments.rows or CASES[arguments.case]
        print(json.dumps(measure(arguments)))
        return
    measured = []
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout, end="", flush=True)
        measured.append(json.loads(done.stdout))
    records.write(Path(__file__).with_suffix(".csv"), measured)


def measure(arguments) -> dict:
    """Rows/s and memory of a case, in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(arguments, Path(folder))
        if arguments.case not in LONG:
            run_epoch(dataset, arguments)
        seconds, early_peak = run_epoch(dataset, arguments)
    return {
        "case": arguments.case,
        "rows": arguments.rows,
        "dim": 784 if arguments.case == "images" else arguments.dim,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "unit": "rows/s",
        "value": round(arguments.rows / seconds),
        "peak_mib": round(peak_memory()),
        "peak_growth": round(peak_memory() / early_peak - 1, 4) if early_peak else None,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")))
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def make_dataset(arguments, folder: Path):
    """The dataset that a user of flowzoo gets for the case."""
    import flowzoo.data

    options = {"batch_size": arguments.batch, "shuffle": True, "drop_remainder": False}
    if arguments.case == "stream":
        return generated(arguments)
    if arguments.case == "images":
        path = folder / "images.npy"
        rng = np.random.default_rng(0)
        np.save(path, rng.integers(0, 256, (arguments.rows, 28, 28, 1), np.uint8))
        return flowzoo.data.load(path, "all", **options)
    cached: bool | str = "auto" if arguments.case in ("vectors_npy", "vectors_tfrecord") else False
    if "npy" in arguments.case:
        return flowzoo.data.load(write_npy(folder, arguments), "all", cache=cached, **options)
    written = min(arguments.rows, MOST_WRITTEN)
    path = write_tfrecord(folder, argparse.Namespace(rows=written, dim=arguments.dim))
    return flowzoo.data.load([path] * (arguments.rows // written), "all", cache=cached, **options)


def generated(arguments):
    """A stream of new rows through the pipeline's path for data that do not fit in memory."""
    from flowzoo.data import pipeline
    from flowzoo.data.source import Source

    def chunks(rng: np.random.Generator | None) -> Iterator[pipeline.Chunk]:
        for block in rows_of(arguments):
            yield block, None

    source = Source((arguments.dim,), np.dtype(np.float32), chunks, arguments.rows)
    collected = pipeline.collect(source, cache=False)
    return pipeline.make_dataset(
        source, collected, batch_size=arguments.batch, shuffle=True, seed=0, drop_remainder=False
    )


def rows_of(arguments) -> Iterator[np.ndarray]:
    """The rows of the case, one block at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, arguments.rows, BLOCK):
        size = (min(BLOCK, arguments.rows - start), arguments.dim)
        yield rng.standard_normal(size, np.float32)


def write_npy(folder: Path, arguments) -> Path:
    """Writes the rows to an .npy file."""
    array = np.lib.format.open_memmap(
        folder / "rows.npy", mode="w+", dtype=np.float32, shape=(arguments.rows, arguments.dim)
    )
    start = 0
    for block in rows_of(arguments):
        array[start : start + len(block)] = block
        start += len(block)
    return folder / "rows.npy"


def write_tfrecord(folder: Path, arguments) -> Path:
    """Writes the rows to a .tfrecord file of tf.train.Example."""
    import tensorflow as tf

    path = folder / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for block in rows_of(arguments):
            for row in block.tolist():
                x = tf.train.Feature(float_list=tf.train.FloatList(value=row))
                example = tf.train.Example(features=tf.train.Features(feature={"x": x}))
                writer.write(example.SerializeToString())
    return path


def run_epoch(dataset, arguments) -> tuple[float, float]:
    """Seconds of one epoch, and the peak memory in MiB at the point where it should be flat (0: never)."""
    from flowzoo.data import pipeline

    flat_from = max(arguments.rows / 10, 4 * pipeline.POOL_BYTES / (4 * arguments.dim))
    seen, peak = 0, 0.0
    start = time.perf_counter()
    for batch in dataset:
        seen += int(batch.shape[0])
        if not peak and seen >= flat_from:
            peak = peak_memory()
    seconds = time.perf_counter() - start
    if seen != arguments.rows:  # Also if `rows` is not a whole number of millions.
        raise SystemExit(f"got {seen} rows, expected {arguments.rows}")
    return seconds, peak


def peak_memory() -> float:
    """Peak memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
