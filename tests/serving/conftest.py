"""Imports the scripts of serving/, which are not part of a package."""

import importlib
from pathlib import Path

import pytest

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture
def script(monkeypatch):
    """``script("load_test")`` imports the module."""
    monkeypatch.syspath_prepend(str(SERVING))
    return importlib.import_module
