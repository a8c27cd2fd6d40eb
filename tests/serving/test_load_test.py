"""Tests of serving/load_test.py."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from flowzoo import testing

SCRIPT = Path(__file__).parents[2] / "serving" / "load_test.py"
MARKERS = "before\n<!-- load test: begin -->\nold\n<!-- load test: end -->\nafter\n"


def row(**other):
    common = {"server": "one", "machine": "a machine", "model": "m", "signature": "log_prob", "rows": "64"}
    figures = {"clients": "8", "requests": "100", "failed": "0", "rows_a_second": "1234.5"}
    return {**common, **figures, "p50_ms": "1.5", "p95_ms": "20", "p99_ms": "300.7", **other}


def test_page(script):
    module = script("load_test")
    text = module.page(
        [
            row(protocol="REST"),
            row(protocol="gRPC", rows_a_second="20000", failed="2"),
            row(protocol="REST", server="two"),
            row(protocol="gRPC", server="two"),
        ]
    )
    assert "**one**, clients on a machine" in text
    assert "202 requests, 2 failed" in text
    assert "**two**, clients on a machine" in text
    assert "200 requests, none failed" in text
    assert "| `m` | 64 | 8 | 1,234 | 1.5 / 20 / 301 | 20,000 | 1.5 / 20 / 301 |" in text


def test_replacing_a_block_of_a_page(script, tmp_path):
    module, page = script("load_test"), tmp_path / "page.md"
    page.write_text(MARKERS)
    module.write_block(page, "load test", "new")
    assert page.read_text() == MARKERS.replace("old", "new")
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="lacks the markers"):
        module.write_block(page, "load test", "new")


def test_failed_requests_are_counted(script):
    module = script("load_test")

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    asked = []

    def ask(client):
        asked.append(client)
        if len(asked) % 2 == 0:
            raise module.ServingError("no")

    figures = module.run(Client, ask, clients=1, seconds=0.1, rows=10)
    assert figures["requests"] == pytest.approx(figures["failed"], abs=1)
    assert figures["rows_a_second"] > 0
    assert figures["p50_ms"] <= figures["p99_ms"]


@pytest.mark.slow
def test_measuring_the_stand_in(tmp_path):
    for name, event in (("table", (2,)), ("images", (4, 4, 1))):
        testing.make_flow(
            "realnvp", event, dtype="float32", **testing.small_options("realnvp", event)
        ).export(tmp_path / "models" / name)
    (tmp_path / "README.md").write_text(MARKERS)
    command = [sys.executable, str(SCRIPT), "measure", str(tmp_path / "models"), "--out", str(tmp_path)]
    subprocess.run([*command, "--seconds", "0.1"], check=True, capture_output=True, timeout=300)
    with open(tmp_path / "load_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"table", "images"}
    assert all(int(row["requests"]) > 0 and row["failed"] == "0" for row in rows)
    text = (tmp_path / "README.md").read_text()
    assert "**flowzoo serve (stand-in)**, clients on " in text
    assert "old" not in text
    assert text.count("| `table` |") == len(rows) / 4
