"""verify: measures a preset's test metric again and compares it with its card."""

from __future__ import annotations

import os

from flowzoo.models._pretrained import from_pretrained
from flowzoo.recipes.config import ZooConfig
from flowzoo.recipes.evaluation import evaluate
from flowzoo.recipes.trainer import load_part
from flowzoo.storage.presets import find_preset, preset_metadata
from flowzoo.storage.registry import METADATA
from flowzoo.zoo.publishing import agree


def verify(
    name: str | os.PathLike, *, data_dir: str | os.PathLike | None = None, download: bool = True
) -> tuple[dict, dict, bool]:
    """Evaluates a preset on its test data.

    Args:
        name: Name, URL or directory of a preset.
        data_dir: Directory of TFDS's prepared data sets. A file's path in the recipe is relative to
            the current directory.
        download: False to work offline.

    Returns:
        The card's metrics, the measured metrics, and whether they agree: equal numbers of rows, and a metric
        within about 0.001.

    Raises:
        FileNotFoundError: If the test data are missing.
        ValueError: If there is no such preset, its files are damaged, or it has no recipe.
    """
    directory = find_preset(name)
    metadata = preset_metadata(directory)
    if "recipe" not in metadata:
        raise ValueError(
            f"{directory / METADATA} names no recipe, so its test data are unknown. Nothing to verify."
        )
    config = ZooConfig.model_validate(metadata["recipe"])
    flow = from_pretrained(directory)
    measured = evaluate(flow, load_part(config, "test", data_dir=data_dir, download=download))
    return metadata["test"], measured, agree(measured, metadata["test"])
