"""publish: measures the flow of a run and writes it to a registry as a preset with a card."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from flowzoo import plots
from flowzoo.data.catalog import dataset_info, list_datasets
from flowzoo.models._pretrained import from_pretrained
from flowzoo.recipes.config import ZooConfig, load_config
from flowzoo.recipes.evaluation import evaluate
from flowzoo.recipes.trainer import RECIPE, load_part
from flowzoo.storage import files
from flowzoo.storage.presets import check_replaceable
from flowzoo.storage.registry import (
    CARD,
    CONFIG,
    FILES,
    FORMAT,
    INDEX,
    METADATA,
    PICTURE,
    WEIGHTS,
    check_name,
    describe_preset,
    parse_index,
)
from flowzoo.utils.metrics import main_metric
from flowzoo.zoo.building import build
from flowzoo.zoo.card import card

if TYPE_CHECKING:
    import tensorflow as tf

    from flowzoo.flow import Flow

MOST_BYTES = 16 * 2**20
# Largest change of a metric that half precision or another machine may cause.
TOLERANCE = 0.001


def publish(
    run_dir: str | os.PathLike,
    registry: str | os.PathLike,
    *,
    recipe: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
) -> dict:
    """Publishes the flow of a run to a registry.

    The weights are stored as float16 if that changes the measured test metric by less than 0.001. The card
    reports the metric of the stored weights.

    Args:
        run_dir: Directory that `flowzoo.recipes.train` wrote.
        registry: A directory, or a URL that fsspec can write to (gs://, s3://, file://).
        recipe: The recipe with a card that was written after the run; the run's own recipe by default.
        data_dir: Directory of TFDS's prepared data sets.
        download: False to work offline.

    Returns:
        The preset's metadata.

    Raises:
        FileNotFoundError: If the directory holds no finished run, or the test data are missing.
        ValueError: If the recipe is not the run's or names no licence, or if the weights are too large or do
            not give the run's metrics.
        OSError: If the registry cannot be written.
    """
    if os.fspath(registry).startswith(("https://", "http://")):
        raise ValueError(f"{registry} can only be read; publish to the directory or bucket behind it.")
    run_dir = Path(run_dir)
    if not (run_dir / "metrics.json").is_file():
        raise FileNotFoundError(f"{run_dir} holds no finished run: it has no metrics.json.")
    config = _recipe(run_dir, recipe)
    check_name(config.name, str(run_dir / RECIPE))
    metrics = files.read_json(run_dir / "metrics.json")
    about_data = _about_data(config)
    test = load_part(config, "test", data_dir=data_dir, download=download)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / config.name
        shutil.copytree(run_dir / "preset", directory)
        flow = from_pretrained(directory)
        measured = evaluate(flow, test)
        if not agree(measured, metrics["test"]):
            raise ValueError(
                f"The weights in {run_dir} give {measured}, but its metrics.json says {metrics['test']}."
            )
        dtype, measured = _halve(flow, test, directory / WEIGHTS, measured)
        _check_size(directory / WEIGHTS)
        own = files.read_json(run_dir / "preset" / METADATA)
        metadata = {
            "name": config.name,
            "test": measured,
            "data": about_data,
            "columns": config.data.columns,
            "training_seconds": metrics["training_seconds"],
            "epochs": metrics["epochs"],
            "machine": metrics["machine"],
            "parameters": flow.count_params(),
            "weights_dtype": dtype,
            "weights_sha256": files.sha256(directory / WEIGHTS),
            "config_sha256": files.sha256(directory / CONFIG),
            "versions": own["versions"],
            "recipe": config.model_dump(mode="json"),
        }
        files.write_json(directory / METADATA, metadata)
        plots.save_samples(flow, test, directory / PICTURE)
        (directory / CARD).write_text(card(files.read_json(directory / CONFIG), metadata))
        _send(directory, registry)
    return metadata


def agree(one: dict, other: dict) -> bool:
    """Whether two results of `evaluate` have the same number of rows and agree within the tolerance."""
    key, _ = main_metric(one)
    near = abs(one[key] - other[key]) < TOLERANCE + 1e-5 * abs(other[key])
    return one["rows"] == other["rows"] and near


def _recipe(run_dir: Path, path: str | os.PathLike | None) -> ZooConfig:
    config = load_config(run_dir / RECIPE)
    if path is None:
        return config
    given = load_config(path)
    if not given.trains_as(config):
        raise ValueError(f"{path} is not the recipe of {run_dir}: only description and card may differ.")
    return given


def _about_data(config: ZooConfig) -> dict[str, Any]:
    """What a card says about the data: source, version, licence, splits."""
    from flowzoo.data import toy
    from flowzoo.data.files import expand

    source = config.data.source
    about: dict[str, Any] = {"source": source}
    if source in list_datasets():
        info = dataset_info(source)
        about |= {"version": info.version, "licence": info.licence, "url": info.source}
    else:
        digests = [files.sha256(path)[:12] for path in expand(source)]
        version = f"sha256 {', '.join(digests)}"
        about |= {"version": version, "licence": config.card.licence, "url": config.card.data_url}
    if not about["licence"]:
        raise ValueError(f"The recipe of {config.name} must name the licence of its data: set card.licence.")
    if source in toy.NAMES:
        about["entropy"] = toy.entropy(source)
    return about | {part: getattr(config.data, part) for part in ("train", "validation", "test")}


def _halve(flow: Flow, test: tf.data.Dataset, path: Path, measured: dict) -> tuple[str, dict]:
    """Stores the weights as float16 if the metric stays the same; returns their dtype and the metrics."""
    if flow.variable_dtype != "float32":
        return flow.variable_dtype, measured
    half = path.with_name("half.weights.h5")
    try:
        if not _copy_as_half(path, half):
            return "float32", measured
        flow.load_weights(half)
        after, key = _evaluate_or_nan(flow, test, measured), main_metric(measured)[0]
        if abs(after[key] - measured[key]) < TOLERANCE:
            os.replace(half, path)
            return "float16", after
        flow.load_weights(path)
        return "float32", measured
    finally:
        half.unlink(missing_ok=True)


def _evaluate_or_nan(flow: Flow, test: tf.data.Dataset, measured: dict) -> dict:
    """Like `evaluate`, but NaN if a density is not finite: half precision can round a scale to 0."""
    try:
        return evaluate(flow, test)
    except ValueError:
        return dict.fromkeys(measured, np.nan)


def _copy_as_half(source: Path, target: Path) -> bool:
    """Copies an HDF5 file with float16 instead of float32; returns False if a number overflows."""
    fits = True

    def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal fits
        if isinstance(item, h5py.Group):
            made = new.require_group(name)
        else:
            values = item[()]
            if item.dtype == np.float32:
                with np.errstate(over="ignore"):
                    values = np.asarray(values, np.float16)
                fits &= bool(np.isfinite(values).all())
            made = new.create_dataset(name, data=values)
        for key, value in item.attrs.items():
            made.attrs[key] = value

    with h5py.File(source) as old, h5py.File(target, "w") as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        old.visititems(copy)
    return fits


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"The weights take {size / 2**20:.1f} MiB; a preset may take {MOST_BYTES / 2**20:.0f} MiB. "
            "Train a smaller flow."
        )


def _send(directory: Path, registry: str | os.PathLike) -> None:
    """Writes a preset to a registry: the files first, the index last, so that readers see it complete."""
    from fsspec.implementations.local import LocalFileSystem

    from flowzoo.storage.remote import file_system_of

    file_system, root = file_system_of(os.fspath(registry))
    if isinstance(file_system, LocalFileSystem):
        check_replaceable(Path(root) / directory.name)
        with files.replacing_directory(Path(root) / directory.name) as beside:
            shutil.copytree(directory, beside, dirs_exist_ok=True)
        build(root)
        return
    index, presets = f"{root}/{INDEX}", {}
    if file_system.exists(index):
        content = json.loads(file_system.cat_file(index))
        parse_index(content, index)
        presets = {item["name"]: item for item in content["presets"]}
    presets[directory.name] = describe_preset(directory)
    for name in FILES:
        file_system.pipe_file(f"{root}/{directory.name}/{name}", (directory / name).read_bytes())
    content = {"format": FORMAT, "presets": [presets[name] for name in sorted(presets)]}
    file_system.pipe_file(index, (json.dumps(content, indent=2) + "\n").encode())
