"""`open_tfds`: data sets that TensorFlow Datasets fetches, prepares and keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.data.catalog import OpenRequest, unknown_split
from flowzoo.data.source import Chunk, Source


class WrongDataError(ValueError):
    """What was fetched is not the data set that it should be."""


def open_tfds(
    request: OpenRequest,
    make_builder: Callable[[Path | None], Any],
    *,
    feature: str,
    label: str | None = None,
    validation: str | None = None,
) -> Source:
    """Opens a data set of TensorFlow Datasets, after fetching and preparing it if need be.

    Args:
        request: What was asked for; any split expression of TensorFlow Datasets will do.
        make_builder: Gives the set's `tfds.core.DatasetBuilder` for a data directory.
        feature: The feature that is the row.
        label: The feature that is the label.
        validation: The split expression that "validation" stands for, where the set has none.

    Returns:
        The source.

    Raises:
        FileNotFoundError: If the data are not there and may not be fetched.
        ImportError: Without the extra ``datasets``.
        RuntimeError: If they cannot be fetched.
        ValueError: On an unknown split, or if what was fetched is not the data set.
    """
    _check_installed(request.info.name)
    builder = make_builder(request.data_dir)
    if not builder.is_prepared():
        _prepare(request, builder)
    split = validation if request.split == "validation" and validation else request.split
    wanted = (feature, label) if request.labels else (feature,)
    try:
        rows = int(builder.as_dataset(split=split).cardinality())
    except (AssertionError, KeyError, ValueError) as error:
        raise unknown_split(request) from error

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        import tensorflow_datasets as tfds

        # The order of the files is the generator's doing too: workers that share an epoch must see one.
        seed = None if rng is None else int(rng.integers(2**31))
        config = tfds.ReadConfig(shuffle_seed=seed)
        dataset = builder.as_dataset(split=split, shuffle_files=rng is not None, read_config=config)
        dataset = dataset.map(lambda example: tuple(example[key] for key in wanted))
        for arrays in dataset.batch(source.chunk_rows).prefetch(1).as_numpy_iterator():
            yield arrays[0], arrays[1] if request.labels else None

    info = request.info
    source = Source(info.event_shape, np.dtype(info.dtype), chunks, rows, request.labels)
    return source


def _check_installed(name: str) -> None:
    try:
        import tensorflow_datasets  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{name} comes through TensorFlow Datasets, and {error.name} is not installed: "
            "pip install 'flowzoo[datasets]'."
        ) from None


def _prepare(request: OpenRequest, builder: Any) -> None:
    name = request.info.name
    elsewhere = (
        f'on a machine with a network run flowzoo.data.load("{name}", data_dir=DIR), copy DIR, and '
        "pass it as data_dir="
    )
    if not request.download:
        raise FileNotFoundError(
            f"{name} is not prepared in {builder.data_path} and download=False. "
            f"Pass download=True, or {elsewhere}."
        )
    try:
        builder.download_and_prepare()
    except WrongDataError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"{name} could not be fetched into {builder.data_path} "
            f"({type(error).__name__}: {error}). Without a network: {elsewhere}."
        ) from error
