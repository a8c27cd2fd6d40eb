"""The toy data sets."""

import numpy as np
import pytest

import flowzoo.data
from flowzoo.data import toy


@pytest.mark.parametrize("name", toy.NAMES)
def test_splits_and_labels(name):
    info = flowzoo.data.dataset_info(name)
    splits = []
    for split, rows in info.splits.items():
        dataset = flowzoo.data.load(name, split, batch_size=rows, labels=True, shuffle=False)
        ((x, labels),) = dataset.as_numpy_iterator()
        assert x.shape == (rows, 2)
        assert np.unique(labels).tolist() == list(range(info.num_classes))
        assert np.all(np.isfinite(toy.log_density(name, x[:2000])))
        splits.append({row.tobytes() for row in x})
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]
