"""MNIST, Fashion-MNIST and CIFAR-10 from TensorFlow Datasets; `open_tfds` opens any set of its."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.data.catalog import DatasetInfo, OpenRequest, register_dataset, unknown_split
from flowzoo.data.source import Chunk, Source

_HELD_OUT = (
    "'train' and 'test' are the official splits; 'validation' is the last {held_out:,} rows of "
    "'train', so train on 'train[:-{held_out}]' when you validate."
)


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
        RuntimeError: If they cannot be fetched.
        ValueError: On an unknown split.
    """
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
        dataset = builder.as_dataset(split=split, shuffle_files=rng is not None)
        dataset = dataset.map(lambda example: tuple(example[key] for key in wanted))
        for arrays in dataset.batch(source.chunk_rows).prefetch(1).as_numpy_iterator():
            yield arrays[0], arrays[1] if request.labels else None

    info = request.info
    source = Source(info.event_shape, np.dtype(info.dtype), chunks, rows, request.labels)
    return source


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
    except Exception as error:
        raise RuntimeError(
            f"{name} could not be fetched into {builder.data_path} "
            f"({type(error).__name__}: {error}). Without a network: {elsewhere}."
        ) from error


def _stock_builder(name: str, data_dir: Path | None) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))


def _register_stock(info: DatasetInfo) -> None:
    held_out = info.splits["validation"]
    register_dataset(info)(
        partial(
            open_tfds,
            make_builder=partial(_stock_builder, info.name),
            feature="image",
            label="label",
            validation=f"train[-{held_out}:]",
        )
    )


_register_stock(
    DatasetInfo(
        name="mnist",
        summary="Handwritten digits, 28 x 28, grey 0..255. " + _HELD_OUT.format(held_out=5000),
        event_shape=(28, 28, 1),
        dtype="uint8",
        num_classes=10,
        splits={"train": 60_000, "validation": 5_000, "test": 10_000},
        licence="CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
        source="http://yann.lecun.com/exdb/mnist/",
    )
)
_register_stock(
    DatasetInfo(
        name="fashion_mnist",
        summary="Zalando's clothes, 28 x 28, grey 0..255. " + _HELD_OUT.format(held_out=5000),
        event_shape=(28, 28, 1),
        dtype="uint8",
        num_classes=10,
        splits={"train": 60_000, "validation": 5_000, "test": 10_000},
        licence="MIT (Zalando SE)",
        source="https://github.com/zalandoresearch/fashion-mnist",
    )
)
_register_stock(
    DatasetInfo(
        name="cifar10",
        summary="Small photographs, 32 x 32, RGB 0..255. " + _HELD_OUT.format(held_out=5000),
        event_shape=(32, 32, 3),
        dtype="uint8",
        num_classes=10,
        splits={"train": 50_000, "validation": 5_000, "test": 10_000},
        licence="none stated (A. Krizhevsky, 2009)",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
    )
)
