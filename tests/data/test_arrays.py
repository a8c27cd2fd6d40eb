import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.data.arrays import are_arrays, batches_of


def orders(dataset, passes=2):
    return [np.concatenate([x.numpy() for x, *_ in dataset]).tolist() for _ in range(passes)]


def test_a_pass_has_every_row_once_and_the_next_another_order():
    dataset = batches_of((np.arange(100),), 32, shuffle=True)
    first, second = orders(dataset)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert [len(x) for (x,) in dataset] == [32, 32, 32, 4]
    assert int(dataset.cardinality()) == 4


def test_batches_of_any_number_of_rows_have_the_same_shapes():
    specs = [batches_of((np.zeros((rows, 2)),), 8).element_spec for rows in (16, 17)]
    assert specs[0] == specs[1] == (tf.TensorSpec((None, 2), tf.float64),)


def test_rows_stay_with_their_contexts_and_weights():
    rows = np.arange(50.0)
    for x, context, weight in batches_of((rows, tf.constant(2 * rows), -rows), 16, shuffle=True):
        np.testing.assert_array_equal(context, 2 * x)
        np.testing.assert_array_equal(weight, -x)


def test_the_order_follows_the_seed():
    found = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        found.append(orders(batches_of((np.arange(100),), 32, shuffle=True)))
    assert found[0] == found[1] != found[2]


def test_without_shuffling_rows_keep_their_order():
    assert orders(batches_of((np.arange(7),), 3)) == [list(range(7))] * 2


def test_arrays_must_have_the_same_number_of_rows():
    with pytest.raises(ValueError, match=r"same number of rows; got \[5, 4\]"):
        batches_of((np.zeros(5), np.zeros(4)), 2)


def test_are_arrays():
    assert are_arrays(np.zeros([3, 2]), tf.zeros([3]))
    assert not are_arrays(np.zeros([3, 2]), [1, 2, 3])
    assert not are_arrays(np.float32(1.0))
