"""scikit-learn's digits."""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import flowzoo.data


def test_splits_partition_the_bundled_digits():
    images, labels = [], []
    for split, rows in flowzoo.data.dataset_info("digits").splits.items():
        dataset = flowzoo.data.load("digits", split, batch_size=rows, labels=True)
        assert dataset.element_spec[0] == tf.TensorSpec((None, 8, 8, 1), tf.uint8)
        ((x, y),) = dataset.as_numpy_iterator()
        assert len(np.unique(y)) == 10
        images.append(x.reshape(-1, 64))
        labels.append(y)
    bundled, their_labels = load_digits(return_X_y=True)
    ours = np.column_stack([np.concatenate(images), np.concatenate(labels)])
    theirs = np.column_stack([bundled, their_labels])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_the_split_never_moves():
    dataset = flowzoo.data.load("digits", "test", batch_size=8, labels=True)
    assert next(iter(dataset))[1].numpy().tolist() == [9, 2, 3, 2, 6, 2, 9, 8]
