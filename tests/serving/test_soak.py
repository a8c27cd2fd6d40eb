"""Tests of serving/soak.py."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "serving" / "soak.py"


def test_which_flow_may_have_answered(script, tmp_path):
    versions = script("soak").Versions(tmp_path, tmp_path)
    versions.published = {1: 0.0, 2: 20.0, 3: 40.0}
    versions.available = {1: 1.0, 2: 21.0, 3: 41.0}
    assert versions.possible(2, 3) == {0}
    assert versions.possible(19, 20.5) == {0, 1}  # Published, but not yet available.
    assert versions.possible(20.5, 22) == {0, 1}
    assert versions.possible(22, 23) == {1}
    assert versions.possible(22, 40.5) == {0, 1}
    assert versions.possible(42, 43) == {0}


def test_answers_are_compared_with_the_right_flows(script, monkeypatch):
    soak = script("soak")
    x = np.arange(soak.MOST, dtype="float32")
    flows = [{method: [x * factor] for method in soak.METHODS} for factor in (2, 3)]
    known = soak.Known({"x": x, "z": x, "seed": x}, flows)

    class Versions:
        def possible(self, *_):
            return {0}

    class Client:
        factors = iter([2] * 20 + [3, 7])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __getattr__(self, method):
            return self.answer

        def answer(self, x=None, seed=None):
            factor = next(self.factors, None)
            if factor is None:
                load.stop.set()
                raise soak.ServingError("gone")
            return (x if seed is None else seed) * factor

    load = soak.Load()
    monkeypatch.setattr(soak, "METHODS", ("log_prob", "sample"))
    load.work(Client, Versions(), known, seed=0)
    assert (load.asked, load.failed, load.wrong) == (23, 1, 2)
    assert "the other flow's" in load.complaints[0]
    assert "neither flow's" in load.complaints[1]
    assert load.complaints[2] == "failed: gone"


def test_growth(script):
    growth = script("soak").growth
    assert growth([]) == 1
    assert growth([100.0, 130.0, 110.0]) == pytest.approx(1.1)


def test_memory_of_the_process(script):
    memory, stop = script("soak").Memory(os.getpid()), threading.Event()
    threading.Timer(1.5, stop.set).start()
    memory.watch(stop)
    (median,) = memory.medians()
    assert 10 < median < 100_000


@pytest.mark.slow
def test_a_short_soak_of_the_stand_in(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- soak: begin -->\n<!-- soak: end -->\n")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "models"), "--out", str(page)]
    done = subprocess.run(
        [*command, "--minutes", "0.2", "--swap-seconds", "3"], capture_output=True, text=True, timeout=300
    )
    assert "none failed, none had a wrong answer" in page.read_text(), done.stderr
    assert int(re.search(r"swapped (\d+) times", page.read_text())[1]) >= 1
