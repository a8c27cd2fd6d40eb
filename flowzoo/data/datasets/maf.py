"""POWER, GAS, HEPMASS, MINIBOONE and BSDS300: the tabular benchmarks of density estimation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from flowzoo.data.catalog import DatasetInfo, register_dataset
from flowzoo.data.prepared import open_tfds

_PREPROCESSED = " Preprocessed as in Papamakarios et al. (2017), for comparable test log-likelihoods; "
_STANDARDISED = _PREPROCESSED + "standardised."
_UCI = "CC BY 4.0 (UCI Machine Learning Repository)"
_SOURCE = "https://zenodo.org/records/1161203"


def _builder(name: str, data_dir: Path | None) -> Any:
    from flowzoo.data.builders.maf import BENCHMARKS, MafBuilder

    return MafBuilder(BENCHMARKS[name], data_dir)


def _register(name: str, summary: str, columns: int, splits: tuple[int, int, int], licence: str) -> None:
    info = DatasetInfo(
        name=name,
        summary=summary,
        event_shape=(columns,),
        dtype="float32",
        num_classes=None,
        splits=dict(zip(("train", "validation", "test"), splits, strict=True)),
        licence=licence,
        source=_SOURCE,
        version="1.0.0",
    )
    register_dataset(info)(partial(open_tfds, make_builder=partial(_builder, name), feature="x"))


# Columns and rows of each split are those in the supplement of the MAF paper.
_register(
    "power",
    "A household's electric power by the minute." + _STANDARDISED,
    6,
    (1_659_917, 184_435, 204_928),
    _UCI,
)
_register(
    "gas",
    "Chemical sensors in mixtures of ethylene and CO." + _STANDARDISED,
    8,
    (852_174, 94_685, 105_206),
    _UCI,
)
_register(
    "hepmass",
    "Simulated collisions that make a particle of mass 1000." + _STANDARDISED,
    21,
    (315_123, 35_013, 174_987),
    _UCI,
)
_register(
    "miniboone",
    "Electron and muon neutrinos of the MiniBooNE experiment." + _STANDARDISED,
    43,
    (29_556, 3_284, 3_648),
    _UCI,
)
_register(
    "bsds300",
    "Patches of 8 x 8 grey pixels of photographs, without their mean and the last pixel."
    + _PREPROCESSED
    + "not standardised.",
    63,
    (1_000_000, 50_000, 250_000),
    "non-commercial research and education (Berkeley Segmentation Dataset)",
)
