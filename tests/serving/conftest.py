"""The scripts of serving/ as modules: they are run from there and are in no package."""

import importlib
from pathlib import Path

import pytest

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture
def script(monkeypatch):
    """``script("load_test")``: the module."""
    monkeypatch.syspath_prepend(str(SERVING))
    return importlib.import_module
