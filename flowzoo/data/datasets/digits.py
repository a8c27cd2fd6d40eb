"""scikit-learn's handwritten digits, 8 x 8 with 17 grey levels: images that need no download."""

from __future__ import annotations

import numpy as np

from flowzoo.data.catalog import DatasetInfo, OpenRequest, Part, register_dataset, split_source
from flowzoo.data.source import Source

SPLITS = {"train": 1437, "validation": 180, "test": 180}


@register_dataset(
    DatasetInfo(
        name="digits",
        summary=(
            "Handwritten digits, 8 x 8, grey levels 0..16 (not 0..255). Shuffled once with a fixed "
            "seed, then split 80/10/10."
        ),
        event_shape=(8, 8, 1),
        dtype="uint8",
        num_classes=10,
        splits=SPLITS,
        licence="CC BY 4.0 (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository)",
        source="https://archive.ics.uci.edu/dataset/80",
        version="1.0.0",
        pixel_levels=17,
    )
)
def open_digits(request: OpenRequest) -> Source:
    """Reads the test set of UCI's "optical recognition of handwritten digits"."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    ends = np.cumsum(list(SPLITS.values()))

    def load_part(part: str) -> Part:
        index = list(SPLITS).index(part)
        rows = order[ends[index] - SPLITS[part] : ends[index]]
        return images[rows].astype(np.uint8).reshape(-1, 8, 8, 1), labels[rows].astype(np.int64)

    return split_source(request, load_part)
