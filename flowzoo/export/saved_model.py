"""export_saved_model: writes a flow as the next version of a TF Serving model."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from flowzoo.density import Density
from flowzoo.export.batching import batch_sizes, write_batching_params
from flowzoo.export.checks import check_weights, make_directory
from flowzoo.export.manifest import is_export, write_manifest
from flowzoo.export.signatures import Signatures, describe
from flowzoo.export.warmup import write_warmup_requests
from flowzoo.storage import files
from flowzoo.storage.versions import version_directories


def export_saved_model(
    density: Density, base_dir: str | os.PathLike, *, version: int | None = None, keep: int | None = None
) -> Path:
    """Writes ``base_dir/<version>/``; `Flow.export` is the public name.

    A version holds the SavedModel, warm-up requests, batching parameters and a manifest with a fingerprint of
    every file (see `verify_export`).

    TF Serving polls the base directory and loads every number that appears there. So the version is written
    under a temporary name and renamed when it is complete.

    Args:
        density: The flow's density.
        base_dir: The model's base directory.
        version: A number that does not exist yet, 0 or more; the next one by default.
        keep: Number of versions to keep, counted from the highest. Older ones are removed once the new one is
            in place; the new one always stays. What flowzoo did not export is never removed. All by default.

    Returns:
        The directory of the version.

    Raises:
        ValueError: If the version exists or is not a number, `keep` is below 1, weights are not finite, a
            file is in the way, or a layer of the flow compiles with XLA.
    """
    if keep is not None and not (_is_whole(keep) and keep >= 1):
        raise ValueError(f"keep must be at least 1 version; got {keep!r}. Leave it out to keep all.")
    if version is not None and not (_is_whole(version) and 0 <= version < 2**63):
        raise ValueError(f"version must be a whole number from 0 to 2**63 - 1; got {version!r}.")
    check_weights(density)
    base = make_directory(base_dir)
    if version is not None and (base / str(version)).exists():
        raise ValueError(f"{base / str(version)} exists; choose another version, or leave it out.")
    with files.temporary_directory(base, "writing") as beside:
        _write(density, beside)
        files.sync(beside)
        published = _publish(beside, base, version)
    if keep is not None:
        _remove_old(base, keep, published)
    return published


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _write(density: Density, directory: Path) -> None:
    module = tf.Module(name=density.name)
    # Plain tf.Variables instead of Keras objects, so that loading needs neither flowzoo nor Keras.
    module.weights = [weight.value for weight in density.weights]
    functions, sizes = _concrete(density), batch_sizes(density)
    tf.saved_model.save(module, str(directory), signatures=functions)
    _check_no_xla(directory)
    write_warmup_requests(functions, sizes, directory)
    write_batching_params(sizes, directory)
    write_manifest(density, describe(functions), sizes, directory)


def _concrete(density: Density) -> dict:
    functions = Signatures(density).functions()
    concrete = {function: function.get_concrete_function() for function in set(functions.values())}
    return {name: concrete[function] for name, function in functions.items()}


def _check_no_xla(directory: Path) -> None:
    """Raises a ValueError on functions compiled with XLA, which a stock server answers with status 500."""
    saved = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    library = [function for meta in saved.meta_graphs for function in meta.graph_def.library.function]
    compiled = [function.signature.name for function in library if function.attr["_XlaMustCompile"].b]
    if compiled:
        raise ValueError(
            f"The flow compiles {', '.join(compiled)} with XLA, which TensorFlow Serving refuses. "
            "Remove jit_compile=True from that function; a flow compiles itself where possible."
        )


def _publish(beside: Path, base: Path, version: int | None) -> Path:
    """Renames the directory to its version; tries again if another writer has taken the next number."""
    while True:
        target = base / str(_next_version(base) if version is None else version)
        try:
            os.rename(beside, target)
            return target
        except OSError:
            if version is not None or not target.exists():
                raise


def _next_version(base: Path) -> int:
    versions = version_directories(base)
    return int(versions[-1].name) + 1 if versions else 1


def _remove_old(base: Path, keep: int, published: Path) -> None:
    """Removes old versions; another exporter may be at it as well."""
    exported = [version for version in version_directories(base) if is_export(version)]
    for old in exported[:-keep]:
        if old != published:
            # Renamed first, so that the server never sees an incomplete version.
            with (
                files.temporary_directory(base, "removing") as hidden,
                contextlib.suppress(FileNotFoundError),
            ):
                os.rename(old, hidden / old.name)
