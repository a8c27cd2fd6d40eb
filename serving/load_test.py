"""Load test of a server: rows per second and latency by model, signature, protocol, rows and clients.

    python serving/load_test.py export models       # three flows of the zoo
    python serving/load_test.py measure models      # starts `flowzoo serve` on them, and measures

`flowzoo serve` is a stand-in in Python that does not batch: its figures do not apply to TensorFlow Serving.
To measure a real server, start it on the same folder, with batching on or off, and give it a name:

    python serving/load_test.py measure models --server "TensorFlow Serving 2.21.0, batching on" \\
        --http http://127.0.0.1:8501 --grpc grpc://127.0.0.1:8500

Each client is a thread with its own `flowzoo.client.Client` that sends a request as soon as it has the last
reply. So the times are what a Python caller waits, including the writing and reading of JSON. All clients
share one interpreter, which becomes the bottleneck before a real server does. Results go to load_test.csv,
where they replace earlier results of the same server, and from there to README.md.

Locust is not used: it needs gevent, where gRPC works only through a patch that its authors call experimental.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from flowzoo.client import Client, ServingError
from flowzoo.storage.provenance import processor

HERE = Path(__file__).parent
STAND_IN = "flowzoo serve (stand-in)"
MODELS = ("maf_two_moons", "nsf_checkerboard", "realnvp_mnist")
SIGNATURES = ("log_prob", "sample")
ROWS = (1, 64, 512)
CLIENTS = (1, 8)
FIELDS = ["server", "machine", "model", "signature", "protocol", "rows", "clients", "requests", "failed"]
FIELDS += ["rows_a_second", "p50_ms", "p95_ms", "p99_ms"]


class Target(NamedTuple):
    """A server: its addresses, and its process ID if it runs on this machine."""

    http: str
    grpc: str
    pid: int | None = None

    def address(self, protocol: str) -> str:
        return self.http if protocol == "REST" else self.grpc


def main() -> None:
    """Exports the models, or measures a server and writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("export", help="export three flows of the zoo").add_argument("models", type=Path)
    measuring = commands.add_parser("measure", help="measure a server of these models")
    measuring.add_argument("models", type=Path, help="the folder that the server serves")
    measuring.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement")
    measuring.add_argument("--server", default=STAND_IN, help="name of the server in the table")
    measuring.add_argument("--out", type=Path, default=HERE, help="folder of load_test.csv and README.md")
    add_target(measuring)
    arguments = parser.parse_args()
    if arguments.command == "export":
        export(arguments.models)
        return
    names = sorted(path.parent.name for path in arguments.models.glob("*/1"))
    if not names:
        raise SystemExit(f"{arguments.models} has no models: write some with load_test.py export.")
    with target(arguments) as served:
        measured = [
            {"server": arguments.server, "machine": machine(), **row}
            for name in names
            for row in measure(served, name, arguments.seconds)
        ]
    rows = [row for row in read(arguments.out) if row["server"] != arguments.server] + measured
    with open(arguments.out / "load_test.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    write_block(arguments.out / "README.md", "load test", page(read(arguments.out)))


# -- the models ----------------------------------------------------------------------------------
def export(directory: Path) -> None:
    """Exports three flows of the zoo: an autoregressive and a spline flow of tables, and a flow of images."""
    import flowzoo

    for name in MODELS:
        flow = flowzoo.from_pretrained(name)
        print("wrote", flow.export(directory / name), f"({flow.count_params():,} parameters)", flush=True)


# -- the server ----------------------------------------------------------------------------------
def add_target(parser: argparse.ArgumentParser) -> None:
    """Adds the options for a server that is already running."""
    parser.add_argument("--http", help="REST address of a running server: http://127.0.0.1:8501")
    parser.add_argument("--grpc", help="gRPC address of a running server: grpc://127.0.0.1:8500")
    parser.add_argument("--pid", type=int, help="its process ID, if it runs on this machine")


@contextlib.contextmanager
def target(arguments: argparse.Namespace) -> Iterator[Target]:
    """The server of the options, or else a stand-in that this starts and stops."""
    if (arguments.http is None) != (arguments.grpc is None):
        raise SystemExit("Give both --http and --grpc, or neither.")
    if arguments.http is not None:
        yield Target(arguments.http, arguments.grpc, arguments.pid)
        return
    command = [sys.executable, "-c", "from flowzoo.cli import main; main()", "serve", str(arguments.models)]
    command += ["--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = []
        while not lines or not lines[-1].startswith("gRPC "):
            lines.append(process.stdout.readline())
            if not lines[-1]:
                raise SystemExit(f"flowzoo serve {arguments.models} did not start.")
        http = lines[0].removeprefix("REST ").partition("/v1/")[0]
        yield Target(http, f"grpc://{lines[-1].removeprefix('gRPC ').strip()}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


# -- measuring -----------------------------------------------------------------------------------
def measure(served: Target, name: str, seconds: float) -> Iterator[dict]:
    """A row of the table for each signature, protocol, number of rows and number of clients."""
    with Client(served.http, name) as client:
        x = client.sample(max(ROWS), seed=0)
        if client.metadata()["log_prob"].inputs["x"].dtype == "uint8":
            x = np.floor(x)
    for signature in SIGNATURES:
        for rows in ROWS:
            for clients in CLIENTS:
                for protocol in ("REST", "gRPC"):
                    ask = asking(signature, x[:rows])
                    url = served.address(protocol)
                    connect = functools.partial(Client, url, name, retries=0)
                    figures = run(connect, ask, clients, seconds, rows)
                    row = {"model": name, "signature": signature, "protocol": protocol, "rows": rows}
                    print(row := {**row, "clients": clients, **figures}, flush=True)
                    yield row


def asking(signature: str, x: np.ndarray) -> Callable[[Client], object]:
    """A request with the rows of `x`, or for as many samples."""
    if signature == "sample":
        return lambda client: client.sample(len(x), seed=1)
    return lambda client: client.log_prob(x)


def run(connect: Callable[[], Client], ask: Callable, clients: int, seconds: float, rows: int) -> dict:
    """Runs the clients for the given seconds; requests that are under way at the end count as well."""
    ready = threading.Barrier(clients + 1)

    def work() -> tuple[list[float], int, float]:
        taken, failed = [], 0
        with connect() as client:
            ask(client)  # Opens the connection.
            ready.wait()
            end = time.perf_counter() + seconds
            while (before := time.perf_counter()) < end:
                try:
                    ask(client)
                except ServingError:
                    failed += 1
                else:
                    taken.append(time.perf_counter() - before)
            return taken, failed, time.perf_counter()

    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(work) for _ in range(clients)]
        ready.wait(60)
        start = time.perf_counter()
        done = [future.result() for future in working]
    taken = [seconds for one, _, _ in done for seconds in one]
    p50, p95, p99 = np.percentile(np.multiply(taken, 1e3), [50, 95, 99]) if taken else [np.nan] * 3
    return {
        "requests": len(taken),
        "failed": sum(failed for _, failed, _ in done),
        "rows_a_second": round(rows * len(taken) / (max(end for _, _, end in done) - start), 1),
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p99_ms": round(p99, 2),
    }


def machine() -> str:
    """The machine and versions behind the figures."""
    versions = [f"{name} {version(name)}" for name in ("tensorflow", "flowzoo")]
    return ", ".join([f"{os.cpu_count()} cores ({processor()})", *versions])


# -- the tables ----------------------------------------------------------------------------------
def read(directory: Path) -> list[dict]:
    """The results so far, from load_test.csv."""
    path = directory / "load_test.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page(rows: list[dict]) -> str:
    """Two tables for each server, as Markdown."""
    lines = []
    for server in dict.fromkeys(row["server"] for row in rows):
        own = [row for row in rows if row["server"] == server]
        failed = sum(int(row["failed"]) for row in own)
        total = sum(int(row["requests"]) for row in own) + failed
        lines += [
            f"**{server}**, clients on {own[0]['machine']}; {total:,} requests, {failed or 'none'} failed. "
            "Latencies are the 50th / 95th / 99th percentile.",
            "",
        ]
        for signature in SIGNATURES:
            head = ["model", f"rows per `{signature}`", "clients", "REST rows/s", "ms", "gRPC rows/s", "ms"]
            lines += [f"| {' | '.join(head)} |", "|---" * 3 + "|---:" * 4 + "|"]
            asked = [row for row in own if row["signature"] == signature]
            cells = {(r["model"], r["rows"], r["clients"], r["protocol"]): r for r in asked}
            for model, number, clients in dict.fromkeys(key[:3] for key in cells):
                pair = [cells[model, number, clients, protocol] for protocol in ("REST", "gRPC")]
                figures = " | ".join(f"{float(row['rows_a_second']):,.0f} | {latency(row)}" for row in pair)
                lines.append(f"| `{model}` | {number} | {clients} | {figures} |")
            lines.append("")
    return "\n".join(lines).strip()


def latency(row: dict) -> str:
    """The three percentiles, in milliseconds."""
    values = [float(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")]
    return " / ".join(f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in values)


def write_block(path: Path, name: str, text: str) -> None:
    """Replaces the text between a page's markers ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    begin, end = (f"<!-- {name}: {side} -->" for side in ("begin", "end"))
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path} lacks the markers {begin} and {end}.")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
