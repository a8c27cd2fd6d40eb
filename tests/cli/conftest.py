"""Fixtures of the command tests: functions that run commands in this process, and tiny flows on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flowzoo.cli import app

TINY = {"steps": 2, "hidden_units": (8,)}
TINY_IMAGE = {"levels": 1, "channels": 4, "blocks": 1}


@pytest.fixture
def run(monkeypatch, tmp_path) -> Callable:
    """Runs `flowzoo ARGUMENTS` in this process, in an empty directory; returns its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWZOO_DEBUG", raising=False)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def succeed(run) -> Callable:
    """Runs a command that must succeed; returns what it printed."""

    def invoke(*arguments) -> str:
        result = run(*arguments)
        assert result.exit_code == 0, result.stderr or result.exception
        return result.stdout

    return invoke


@pytest.fixture
def fail(run) -> Callable:
    """Runs a command with a user's mistake; returns its one error line."""

    def invoke(*arguments) -> str:
        result = run(*arguments)
        assert result.exit_code == 2, (result.output, result.exception)
        errors = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1, result.stderr
        assert errors[0].startswith("error: ")
        return errors[0]

    return invoke


@pytest.fixture(scope="session")
def preset(tmp_path_factory) -> Path:
    """A preset of a flow of 2 columns, adapted to `rows`."""
    import flowzoo

    flow = flowzoo.create_model("realnvp", (2,), **TINY)
    flow.adapt(_rows())
    directory = tmp_path_factory.mktemp("flows") / "pairs"
    flow.save_to_preset(directory, {"test": {"rows": 10, "nll": 3.0, "nll_se": 0.1}})
    return directory


@pytest.fixture(scope="session")
def image_file(tmp_path_factory) -> Path:
    """A .keras file of a flow of digits."""
    import flowzoo

    flow = flowzoo.create_model("realnvp", (8, 8, 1), pixel_levels=17, **TINY_IMAGE)
    flow.adapt(flowzoo.data.load("digits", "train", batch_size=256))
    path = tmp_path_factory.mktemp("flows") / "digits.keras"
    flow.save(path)
    return path


@pytest.fixture
def rows() -> np.ndarray:
    """200 rows of two columns, float32."""
    return _rows()


@pytest.fixture
def csv_file(tmp_path, rows) -> Path:
    """The rows as a CSV file with the columns "height" and "weight"."""
    path = tmp_path / "rows.csv"
    np.savetxt(path, rows, "%.9g", ",", header="height,weight", comments="")
    return path


def _rows() -> np.ndarray:
    normal = np.random.default_rng(0).standard_normal((200, 2))
    return (normal @ [[1.0, 0.5], [0.0, 2.0]] + 3.0).astype(np.float32)
