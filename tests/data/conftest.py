"""Fixtures of the data tests: the prepared MNIST, and a small table."""

from pathlib import Path

import numpy as np
import pytest

SHARED_TFDS = Path(__file__).parents[3] / "shared" / "data" / "tfds"


@pytest.fixture(scope="session")
def shared_tfds() -> Path:
    if not (SHARED_TFDS / "mnist").is_dir():
        pytest.skip(f"no prepared MNIST in {SHARED_TFDS}")
    return SHARED_TFDS


@pytest.fixture
def table() -> np.ndarray:
    """300 rows of 3 columns, all different."""
    return np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
