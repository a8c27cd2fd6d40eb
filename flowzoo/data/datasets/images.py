"""MNIST, Fashion-MNIST and CIFAR-10 from TensorFlow Datasets."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flowzoo.data.catalog import DatasetInfo, register_dataset
from flowzoo.data.prepared import open_tfds

_HELD_OUT = (
    "'train' and 'test' are the official splits; 'validation' is the last {held_out:,} rows of "
    "'train', so train on 'train[:-{held_out}]' when you validate."
)


def _stock_builder(info: DatasetInfo, data_dir: Path | None) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder(
        f"{info.name}:{info.version}", data_dir=None if data_dir is None else os.fspath(data_dir)
    )


def _register_stock(info: DatasetInfo) -> None:
    held_out = info.splits["validation"]
    info = replace(info, validation_ends_train=True)
    register_dataset(info)(
        partial(
            open_tfds,
            make_builder=partial(_stock_builder, info),
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
        version="3.0.1",
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
        version="3.0.1",
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
        version="3.0.2",
    )
)
