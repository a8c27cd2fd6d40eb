"""The catalog of data sets: register_dataset, list_datasets, dataset_info, open_dataset.

Nothing here imports TensorFlow: listing and describing data sets is instant. Each module of
`flowzoo.data.datasets` registers its data sets when it is imported; a new data set is a new file there.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowzoo.data.source import Source, array_source
from flowzoo.utils.suggestions import did_you_mean


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set that are known without opening it.

    Attributes:
        name: Catalog name.
        summary: A sentence or two: what the rows are, in which units, how they are split.
        event_shape: Shape of one row.
        dtype: "uint8" or "float32".
        num_classes: Number of labels; None if the rows have no labels.
        splits: Rows of each split.
        licence: Licence of the data.
        source: Origin of the data, usually a URL.
        version: Version of the rows; changes whenever they change.
        pixel_levels: For images: number of values of a pixel.
        validation_ends_train: Whether "validation" is the last rows of "train" instead of a separate split.
    """

    name: str
    summary: str
    event_shape: tuple[int, ...]
    dtype: str
    num_classes: int | None
    splits: Mapping[str, int]
    licence: str
    source: str
    version: str = ""
    pixel_levels: int = 256
    validation_ends_train: bool = False


@dataclass(frozen=True)
class OpenRequest:
    """The request that `load` passes to a data set's opener.

    Attributes:
        info: The data set's entry in the catalog.
        split: Name or expression of a split: "train", "train[:1000]", "train[90%:]", "all".
        labels: Whether to read labels.
        data_dir: Directory of prepared data; None for the default.
        download: Whether missing data may be downloaded.
    """

    info: DatasetInfo
    split: str
    labels: bool
    data_dir: Path | None
    download: bool


Opener = Callable[[OpenRequest], Source]
Part = tuple[np.ndarray, np.ndarray | None]

_ENTRIES: dict[str, tuple[DatasetInfo, Opener]] = {}
_state = {"own_datasets_imported": False}


def register_dataset(info: DatasetInfo) -> Callable[[Opener], Opener]:
    """Registers the function that opens a data set.

    The function takes an `OpenRequest` and returns a `Source`. It imports what it needs (for example
    TensorFlow Datasets) when it is called, so that listing stays instant.

    Args:
        info: The data set's entry in the catalog.

    Raises:
        ValueError: If another data set has the name.

    Example:
        >>> info = DatasetInfo("ones", "Ones.", (2,), "float32", None, {"train": 8}, "CC0", "none")
        >>> @register_dataset(info)
        ... def open_ones(request):
        ...     return split_source(request, lambda part: (np.ones((8, 2), np.float32), None))
        >>> "ones" in list_datasets()
        True
        >>> unregister_dataset("ones")
    """

    def register(opener: Opener) -> Opener:
        held = _ENTRIES.get(info.name)
        if held is not None and held[0] != info:
            raise ValueError(f"The data set name {info.name!r} is taken ({held[0].summary}); choose another.")
        _ENTRIES[info.name] = (info, opener)
        return opener

    return register


def unregister_dataset(name: str) -> None:
    """Removes a name from the catalog (for tests and notebooks)."""
    del _ENTRIES[name]


def list_datasets(pattern: str = "*") -> list[str]:
    """Names of the catalog's data sets that match a pattern.

    Args:
        pattern: Shell-style pattern, for example ``"*mnist"``.

    Returns:
        The names in alphabetical order.

    Example:
        >>> list_datasets("*mnist")
        ['fashion_mnist', 'mnist']
    """
    if not _state["own_datasets_imported"]:
        package = importlib.import_module("flowzoo.data.datasets")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"flowzoo.data.datasets.{module.name}")
        _state["own_datasets_imported"] = True
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def dataset_info(name: str) -> DatasetInfo:
    """The facts about a data set: shape, splits, licence, source.

    Args:
        name: Catalog name, see `list_datasets`.

    Returns:
        The data set's entry.

    Raises:
        ValueError: If the name is unknown; the message names the nearest ones.

    Example:
        >>> dataset_info("cifar10").event_shape
        (32, 32, 3)
    """
    return _entry(name)[0]


def open_dataset(
    name: str, split: str | None, *, labels: bool, data_dir: Path | None, download: bool
) -> Source:
    """Opens one split of a data set.

    Args:
        name: Catalog name.
        split: Name or expression of a split; None is "all".
        labels: Whether to read labels.
        data_dir: Directory of prepared data; None for the default.
        download: Whether missing data may be downloaded.

    Returns:
        The source.

    Raises:
        ValueError: If the name or the split is unknown, or `labels` is set and the data set has none.
        FileNotFoundError: If the data are not prepared and `download` is False.
    """
    info, opener = _entry(name)
    if labels and info.num_classes is None:
        raise ValueError(f"{name} has no labels; load it with labels=False.")
    return opener(OpenRequest(info, "all" if split is None else split, labels, data_dir, download))


def split_source(request: OpenRequest, load_part: Callable[[str], Part]) -> Source:
    """Makes the source of a data set that fits in memory.

    Args:
        request: The request. Its split may be a name of `info.splits`, "all", or a slice in
            TensorFlow Datasets' notation: "train[:100]", "test[50%:]".
        load_part: Returns rows and labels of a split in `info.splits`.

    Returns:
        The source.

    Raises:
        ValueError: If the split is none of these.

    Example:
        >>> info = DatasetInfo("ones", "Ones.", (2,), "float32", None, {"train": 8}, "CC0", "none")
        >>> request = OpenRequest(info, "train[:25%]", False, None, False)
        >>> split_source(request, lambda part: (np.ones((8, 2), np.float32), None)).rows
        2
    """
    found = re.fullmatch(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?", request.split)
    names = tuple(request.info.splits)
    if found is None or found[1] not in (*names, "all"):
        raise unknown_split(request)
    parts = [load_part(name) for name in (names if found[1] == "all" else [found[1]])]
    x = np.concatenate([part_x for part_x, _ in parts])
    bounds = slice(_bound(found[2], len(x)), _bound(found[3], len(x)))
    labels = [part_labels for _, part_labels in parts if part_labels is not None]
    if not request.labels or not labels:
        return array_source(x[bounds])
    return array_source(x[bounds], np.concatenate(labels)[bounds])


def unknown_split(request: OpenRequest) -> ValueError:
    """The error for an unknown split; it lists the existing ones."""
    names = ", ".join(f"{name!r} ({rows})" for name, rows in request.info.splits.items())
    return ValueError(
        f"{request.info.name} has no split {request.split!r}; its splits (with their rows) are {names} and "
        "'all'. A slice is written 'train[:1000]' or 'train[90%:]'."
    )


def _bound(text: str | None, rows: int) -> int | None:
    if text is None:
        return None
    return round(rows * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def _entry(name: str) -> tuple[DatasetInfo, Opener]:
    names = list_datasets()
    if name not in names:
        raise ValueError(
            f"Unknown data set {name!r}. {did_you_mean(name, names)} "
            "To load a file, pass its path with the extension, for example './rows.csv'."
        )
    return _ENTRIES[name]
