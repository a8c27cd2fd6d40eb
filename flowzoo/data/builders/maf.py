"""TensorFlow Datasets builders for POWER, GAS, HEPMASS, MINIBOONE and BSDS300.

All five come in one archive (G. Papamakarios, Preprocessed datasets for MAF experiments, 2018,
https://zenodo.org/records/1161203). Zenodo publishes its MD5, which is checked before the archive is
opened. The checksum files of TensorFlow Datasets need a SHA-256, which we do not know; TensorFlow Datasets
writes it to the `dataset_info.json` of the prepared data.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from flowzoo.data.builders import maf_preprocessing
from flowzoo.data.catalog import DatasetInfo, dataset_info
from flowzoo.data.prepared import WrongDataError


@dataclass(frozen=True)
class Archive:
    """Address and checksum of a .tar.gz file.

    Attributes:
        url: Address of the file.
        md5: MD5 of the whole file, hexadecimal.
    """

    url: str
    md5: str


@dataclass(frozen=True)
class Benchmark:
    """One data set of the archive.

    Attributes:
        info: Its entry in the catalog; the preprocessed rows must have its shape and its splits.
        members: Files that it needs from the archive, without the leading "data/".
        preprocess: Makes the splits from a folder that holds these files.
    """

    info: DatasetInfo
    members: tuple[str, ...]
    preprocess: Callable[[Path], maf_preprocessing.Splits]


# Zenodo's MD5, as stated by two public programs that download the file.
ARCHIVE = Archive("https://zenodo.org/records/1161203/files/data.tar.gz", "9b9c9b0375315ad270eba4ce80c093ab")

_MEMBERS = {
    "power": ("power/data.npy",),
    "gas": ("gas/ethylene_CO.pickle",),
    "hepmass": ("hepmass/1000_train.csv", "hepmass/1000_test.csv"),
    "miniboone": ("miniboone/data.npy",),
    "bsds300": ("BSDS300/BSDS300.hdf5",),
}
BENCHMARKS = {
    name: Benchmark(dataset_info(name), members, getattr(maf_preprocessing, name))
    for name, members in _MEMBERS.items()
}


class MafBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Downloads and checks the archive and preprocesses one benchmark; rows keep the paper's order.

    Args:
        benchmark: The benchmark.
        data_dir: Directory of prepared data; None for the default of TensorFlow Datasets.
        archive: The archive that holds the raw files.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, benchmark: Benchmark, data_dir: Path | None = None, archive: Archive = ARCHIVE):
        self.name, self.benchmark, self.archive = benchmark.info.name, benchmark, archive
        super().__init__(data_dir=None if data_dir is None else os.fspath(data_dir))

    def _info(self) -> Any:
        info = self.benchmark.info
        row = tfds.features.Tensor(shape=info.event_shape, dtype=np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=info.summary,
            homepage=info.source,
            license=info.licence,
            features=tfds.features.FeaturesDict({"x": row}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        path = Path(dl_manager.download(self.archive.url))
        _check_md5(path, self.archive.md5)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _extract(path, self.benchmark.members, Path(folder))
            splits = self.benchmark.preprocess(Path(folder))
        _check_splits(self.benchmark.info, splits)
        return {split: self._generate_examples(rows) for split, rows in splits.items()}

    def _generate_examples(self, rows: np.ndarray) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        for i, row in enumerate(rows.astype(np.float32)):
            yield i, {"x": row}


def _check_md5(path: Path, wanted: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != wanted:
        raise WrongDataError(
            f"{path} has the MD5 {found}, the benchmarks' archive has {wanted}: the download is damaged, or "
            "the archive was replaced. Delete the file and try again."
        )


def _extract(path: Path, members: tuple[str, ...], folder: Path) -> None:
    """Extracts only these files; the archive also holds MNIST and CIFAR-10."""
    wanted = {f"data/{member}": folder / member for member in members}
    with tarfile.open(path) as archive:
        for entry in archive:
            target = wanted.pop(entry.name.removeprefix("./"), None)
            content = None if target is None else archive.extractfile(entry)
            if target is not None and content is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(content, file)
            if not wanted:
                return
    raise WrongDataError(f"{path} lacks {', '.join(wanted)}.")


def _check_splits(info: DatasetInfo, splits: maf_preprocessing.Splits) -> None:
    found = {split: rows.shape for split, rows in splits.items()}
    wanted = {split: (rows, *info.event_shape) for split, rows in info.splits.items()}
    if found != wanted:
        raise WrongDataError(
            f"{info.name} has splits of the shapes {found}; the published ones have {wanted}. Results on "
            "these rows would not be comparable, so the rows are not kept."
        )
