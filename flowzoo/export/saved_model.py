"""export_saved_model: a flow as the next version of a TF Serving model."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from flowzoo.export.signatures import Signatures
from flowzoo.flow import Flow


def export_saved_model(flow: Flow, base_dir: str | os.PathLike, *, version: int | None = None) -> Path:
    """Writes ``base_dir/<version>/``; `Flow.export` is the public name.

    TF Serving polls the base directory and loads whatever number appears there: so the version is
    written under another name beside it, and renamed when it is whole.

    Args:
        flow: The flow.
        base_dir: The model's base directory.
        version: A number not yet there; the next one by default.

    Returns:
        The directory of the version.

    Raises:
        ValueError: If the version exists.
    """
    base = Path(base_dir)
    base.mkdir(parents=True, exist_ok=True)
    if version is not None and (base / str(version)).exists():
        raise ValueError(f"{base / str(version)} exists; choose another version, or leave it out.")
    module = tf.Module(name=flow.name)
    # Plain tf.Variables, and no Keras object: whoever loads the model needs neither flowzoo nor Keras.
    module.weights = [weight.value for weight in flow.weights]
    beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
    try:
        tf.saved_model.save(module, str(beside), signatures=_concrete(flow))
        beside.chmod(0o755)
        return _publish(beside, base, version)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _concrete(flow: Flow) -> dict:
    functions = Signatures(flow).functions()
    concrete = {function: function.get_concrete_function() for function in set(functions.values())}
    return {name: concrete[function] for name, function in functions.items()}


def _publish(beside: Path, base: Path, version: int | None) -> Path:
    """Renames to the version; another writer may have taken the next number in between."""
    while True:
        target = base / str(_next_version(base) if version is None else version)
        try:
            os.rename(beside, target)
            return target
        except OSError:
            if version is not None or not target.exists():
                raise


def _next_version(base: Path) -> int:
    taken = [int(entry.name) for entry in base.iterdir() if entry.name.isdigit()]
    return max(taken, default=0) + 1
