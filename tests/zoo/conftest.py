"""A small run, and a zoo with its published preset."""

import pytest

from flowzoo.recipes import train
from flowzoo.recipes.config import ZooConfig
from flowzoo.zoo import publish


@pytest.fixture(scope="session")
def recipe():
    return ZooConfig.model_validate(
        {
            "name": "tiny_moons",
            "description": "A small flow on two moons.",
            "model": {"name": "realnvp", "options": {"steps": 2, "hidden_units": [8]}},
            "data": {
                "source": "two_moons",
                "train": "train[:2048]",
                "test": "test[:2000]",
                "batch_size": 256,
            },
            "training": {"epochs": 4, "jit_compile": False},
            "card": {"published": 0.5, "published_source": "Nobody, 2020", "limits": "It is small."},
        }
    )


@pytest.fixture(scope="session")
def run_dir(recipe, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny_moons"
    train(recipe, directory, download=False, verbose=0)
    return directory


@pytest.fixture(scope="session")
def zoo(run_dir, tmp_path_factory):
    """A zoo of one preset; tests must not write to it."""
    directory = tmp_path_factory.mktemp("zoo")
    publish(run_dir, directory, download=False)
    return directory
