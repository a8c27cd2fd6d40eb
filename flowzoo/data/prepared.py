"""`open_tfds`: data sets that TensorFlow Datasets downloads, prepares and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.data.catalog import OpenRequest, unknown_split
from flowzoo.data.source import Chunk, Source


class WrongDataError(ValueError):
    """The downloaded data are not the expected data set."""


def open_tfds(
    request: OpenRequest,
    make_builder: Callable[[Path | None], Any],
    *,
    feature: str,
    label: str | None = None,
    validation: str | None = None,
) -> Source:
    """Opens a data set of TensorFlow Datasets; downloads and prepares it first if necessary.

    Args:
        request: The request; its split may be any split expression of TensorFlow Datasets.
        make_builder: Makes the data set's `tfds.core.DatasetBuilder` for a data directory.
        feature: Name of the feature that holds the row.
        label: Name of the feature that holds the label.
        validation: Split expression to use for "validation", if the data set has no such split.

    Returns:
        The source.

    Raises:
        FileNotFoundError: If the data are not prepared and `request.download` is False.
        ImportError: If the extra ``datasets`` is not installed.
        RuntimeError: If the data cannot be downloaded.
        ValueError: If the split is unknown, or the downloaded data are not the expected ones.
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

        # The generator also sets the order of the files: workers that share an epoch must see the same one.
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
            f"{name} could not be downloaded to {builder.data_path} "
            f"({type(error).__name__}: {error}). Without a network: {elsewhere}."
        ) from error
