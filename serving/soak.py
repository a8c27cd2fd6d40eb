"""Soak test: full load while versions change. Counts failed and wrong answers, and records the memory.

    python serving/soak.py models/soak --minutes 10

Every 20 seconds each of two models, one of a table and one of images, switches between two flows with
different weights. Clients call every method without pause, over REST and gRPC, with batches of several sizes.
No request may fail, and each answer must match Keras's for a version that may have been live during the
request. `ps` gives the server's memory.

The script starts `flowzoo serve`, the stand-in. To test a real server, first start it on the same folder,
which may be empty, with the models `table` and `images` in its `--model_config_file`. Then give its name:

    python serving/soak.py models/soak --server "TensorFlow Serving 2.21.0" --pid 4711 \\
        --http http://127.0.0.1:8501 --grpc grpc://127.0.0.1:8500
"""

from __future__ import annotations

import argparse
import functools
import itertools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from load_test import HERE, STAND_IN, Target, add_target, machine, target, write_block

from flowzoo.client import Client, ServingError

FLOWS = {
    "table": ("maf", (8,), {"steps": 3, "hidden_units": (64, 64)}),
    "images": ("realnvp", (8, 8, 1), {"levels": 1, "channels": 8, "blocks": 1}),
}
METHODS = ("log_prob", "score", "sample", "encode", "decode")
SIZES = (1, 7, 30, 100)
MOST = 256
CLIENTS = 8
TOLERANCE = 1e-4
# The last minute's memory may be at most this multiple of the first minute's.
GROWTH = 1.1
PATIENCE = 60.0


class Known(NamedTuple):
    """Inputs, and the right outputs of each flow by method."""

    inputs: dict[str, np.ndarray]
    outputs: list[dict[str, list[np.ndarray]]]


def main() -> int:
    """Runs the test; returns 1 if an answer failed or was wrong, or if the memory grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, help="folder for the two models; their versions are removed")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--swap-seconds", type=float, default=20.0, help="time between versions")
    parser.add_argument("--server", default=STAND_IN, help="name of the server in the report")
    parser.add_argument("--out", type=Path, default=HERE / "README.md", help="page for the report")
    add_target(parser)
    arguments = parser.parse_args()
    models = {}
    with tempfile.TemporaryDirectory() as exported:
        for name in FLOWS:
            shutil.rmtree(arguments.models / name, ignore_errors=True)
            versions = Versions(arguments.models / name, Path(exported) / name)
            models[name] = versions, prepare(name, Path(exported) / name)
            versions.publish()
        with target(arguments) as served:
            for name, (versions, _) in models.items():
                versions.wait(served, name)
            load, memory = soak(served, models, arguments.minutes, arguments.swap_seconds)
    swaps = sum(len(versions.available) - 1 for versions, _ in models.values())
    medians = memory.medians()
    report = tell(arguments, load, medians, swaps)
    print(report)
    print(*load.complaints, sep="\n", file=sys.stderr)
    write_block(arguments.out, "soak", report)
    return int(bool(load.failed or load.wrong) or growth(medians) > GROWTH)


def prepare(name: str, exported: Path) -> Known:
    """Exports two flows to ``exported/1`` and ``exported/2``, and computes the right answers with Keras."""
    from flowzoo import random, testing

    architecture, event_shape, options = FLOWS[name]
    flows = [
        testing.make_flow(architecture, event_shape, dtype="float32", seed=seed, **options) for seed in (0, 1)
    ]
    x = testing.raw_rows(flows[0], MOST).astype(flows[0].input_dtype)
    z = np.random.default_rng(0).normal(size=(MOST, *flows[0].latent_shape)).astype("float32")
    inputs = {"x": x, "z": z, "seed": random.row_seeds(0, MOST)}
    outputs = []
    for flow in flows:
        flow.export(exported)
        score = {key: value.numpy() for key, value in flow.score(x).items()}
        outputs.append(
            {
                "log_prob": [flow.log_prob(x).numpy()],
                "score": [score[key] for key in ("log_prob", "valid", "bits_per_dim") if key in score],
                "sample": [flow.sample(seed=inputs["seed"]).numpy()],
                "encode": [flow.encode(x).numpy()],
                "decode": [flow.decode(z).numpy()],
            }
        )
    return Known(inputs, outputs)


class Versions:
    """The versions of a model: odd numbers are the first flow, even numbers the second.

    Args:
        folder: The model's folder, which the server serves.
        exported: A folder with the two flows, 1 and 2.
    """

    def __init__(self, folder: Path, exported: Path):
        self.published: dict[int, float] = {}
        self.available: dict[int, float] = {}
        self._folder, self._exported = folder, exported

    def publish(self) -> None:
        """Puts the next version into the folder, as an export does, and keeps only the previous one."""
        number = len(self.published) + 1
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / f".writing-{number}"
        shutil.copytree(self._exported / str(2 - number % 2), beside)
        self.published = {**self.published, number: time.monotonic()}
        beside.rename(self._folder / str(number))
        if number > 2:
            shutil.rmtree(self._folder / str(number - 2))

    def wait(self, served: Target, name: str) -> None:
        """Waits until the server has loaded the latest version."""
        number, end = len(self.published), time.monotonic() + PATIENCE
        with Client(served.http, name) as client:
            while True:
                try:
                    states = [(v.version, v.state) for v in client.status()]
                except ServingError:  # The server does not know the model yet.
                    states = []
                if (number, "AVAILABLE") in states:
                    self.available = {**self.available, number: time.monotonic()}
                    return
                if time.monotonic() > end:
                    raise SystemExit(
                        f"version {number} of {name} is not available after {PATIENCE:g} s: {states}"
                    )
                time.sleep(0.1)

    def possible(self, asked: float, answered: float) -> set[int]:
        """The flows (0 or 1) that may have answered a request between these times."""
        ready = [number for number, since in self.available.items() if since <= asked]
        there = [number for number, since in self.published.items() if since <= answered]
        return {1 - number % 2 for number in there if number >= max(ready)}


class Load:
    """Clients that send requests without pause, and counts of the answers."""

    def __init__(self) -> None:
        self.asked, self.rows, self.failed, self.wrong = 0, 0, 0, 0
        self.complaints: list[str] = []
        self.stop = threading.Event()
        self._counting = threading.Lock()

    def work(self, connect: Callable[[], Client], versions: Versions, known: Known, seed: int) -> None:
        """Runs one client until `stop` is set."""
        generator = np.random.default_rng(seed)
        with connect() as client:
            while not self.stop.is_set():
                method, size = str(generator.choice(METHODS)), int(generator.choice(SIZES))
                start = int(generator.integers(MOST - size))
                rows = slice(start, start + size)
                before, trouble, got = time.monotonic(), "", []
                try:
                    got = ask(client, method, known.inputs, rows)
                except (ServingError, ValueError) as error:
                    trouble = f"failed: {error}"
                flows = versions.possible(before, time.monotonic())
                if not trouble and not any(same(got, known.outputs[f][method], rows) for f in flows):
                    others = any(same(got, outputs[method], rows) for outputs in known.outputs)
                    whose = "the other flow's" if others else "neither flow's"
                    trouble = f"wrong: {method} of {size} rows is {whose}"
                self._count(size, trouble)

    def _count(self, rows: int, trouble: str) -> None:
        with self._counting:
            self.asked += 1
            self.rows += rows
            self.failed += trouble.startswith("failed")
            self.wrong += trouble.startswith("wrong")
            if trouble and len(self.complaints) < 10:
                self.complaints.append(trouble)


def ask(client: Client, method: str, inputs: dict[str, np.ndarray], rows: slice) -> list[np.ndarray]:
    """The answer of a method for the given rows, as a list of arrays."""
    if method == "sample":
        return [client.sample(seed=inputs["seed"][rows])]
    answer = getattr(client, method)(inputs["z" if method == "decode" else "x"][rows])
    return [part for part in answer if part is not None] if method == "score" else [answer]


def same(got: list[np.ndarray], wanted: list[np.ndarray], rows: slice) -> bool:
    """Whether all arrays agree, within a tolerance relative to the largest value."""
    for one, other in zip(got, wanted, strict=True):
        other = other[rows].astype("float64")
        if one.shape != other.shape or np.abs(one - other).max() > TOLERANCE * max(1, np.abs(other).max()):
            return False
    return True


def soak(served: Target, models: dict, minutes: float, swap_seconds: float) -> tuple[Load, Memory]:
    """Runs the clients, swaps versions, and reads the memory once a second."""
    load, memory, end = Load(), Memory(served.pid), time.monotonic() + 60 * minutes
    pairs = itertools.cycle(itertools.product(models, (served.http, served.grpc)))
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        working = [pool.submit(memory.watch, load.stop)]
        for seed, (name, url) in enumerate(itertools.islice(pairs, CLIENTS)):
            connect = functools.partial(Client, url, name, retries=0)
            working.append(pool.submit(load.work, connect, *models[name], seed))
        try:
            while (now := time.monotonic()) < end and not any(work.done() for work in working):
                for name, (versions, _) in models.items():
                    versions.publish()
                    versions.wait(served, name)
                load.stop.wait(max(0.0, min(now + swap_seconds, end) - time.monotonic()))
        finally:
            load.stop.set()
        for work in working:
            work.result()  # Raises the exception of a client.
    return load, memory


class Memory:
    """Memory of a process, second by second; empty without a process."""

    def __init__(self, pid: int | None):
        self.minutes: list[list[float]] = []
        self._pid = pid

    def watch(self, stop: threading.Event) -> None:
        """Reads the memory once a second until `stop` is set."""
        start = time.monotonic()
        while self._pid is not None and not stop.wait(1.0):
            minute = int((time.monotonic() - start) // 60)
            self.minutes += [[] for _ in range(minute + 1 - len(self.minutes))]
            self.minutes[minute].append(resident_megabytes(self._pid))

    def medians(self) -> list[float]:
        """Median of each minute, in MB."""
        return [float(np.median(minute)) for minute in self.minutes if minute]


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process, in MB."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024


def growth(medians: list[float]) -> float:
    """The last minute's memory as a multiple of the first's."""
    return medians[-1] / medians[0] if medians else 1.0


def tell(arguments: argparse.Namespace, load: Load, medians: list[float], swaps: int) -> str:
    """The report, as one paragraph."""
    told = ", ".join(f"{median:.0f}" for median in medians)
    return (
        f"`soak.py`, {arguments.minutes:g} minutes of {arguments.server} on {machine()}: {load.asked:,} "
        f"requests ({load.rows:,} rows) from {CLIENTS} clients while versions were swapped {swaps} times; "
        f"{load.failed or 'none'} failed, {load.wrong or 'none'} had a wrong answer."
        + (f" Median memory of the server in each minute: {told} MB." if told else "")
    )


if __name__ == "__main__":
    sys.exit(main())
