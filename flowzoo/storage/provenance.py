"""Provenance of a result: package versions, flowzoo's commit, the processor. Needs no TensorFlow."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from flowzoo._version import __version__

PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def processor() -> str:
    """The processor's name where Linux reports it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def machine() -> str:
    """Number of cores and name of the processor: ``2 x ...``."""
    return f"{os.cpu_count()} x {processor()}"


def versions() -> dict[str, str]:
    """Versions of flowzoo, of Python and of the packages that a result depends on."""
    packages = {name: version(name) for name in PACKAGES}
    return {"flowzoo": __version__, "python": platform.python_version(), **packages}


def revision() -> str | None:
    """The commit of the checkout that flowzoo runs from; None if it is installed.

    Returns:
        The commit's full hash, followed by ``-dirty`` if a tracked file has changed since.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    # Exclude all tags, so that the output is the commit's hash alone.
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
