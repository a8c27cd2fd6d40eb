import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import CheckerboardSplit, HalfSplit

CASES = [
    (HalfSplit, (2,)),
    (HalfSplit, (5,)),
    (HalfSplit, (2, 2, 3)),
    (CheckerboardSplit, (4, 4, 1)),
    (CheckerboardSplit, (2, 6, 3)),
]


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(("kind", "event"), CASES)
def test_a_split_is_a_partition(kind, event, swap):
    split = kind(event[-1], swap)
    x = tf.reshape(tf.range(2.0 * np.prod(event)), [2, *event])
    identity, transformed = split.split(x)
    assert (identity.shape[1:], transformed.shape[1:]) == split.shapes(event)
    values = np.concatenate([np.ravel(identity), np.ravel(transformed)])
    np.testing.assert_array_equal(np.sort(values), np.ravel(x))
    np.testing.assert_array_equal(split.merge(identity, transformed), x)


@pytest.mark.parametrize("kind", [HalfSplit, CheckerboardSplit])
def test_swap_exchanges_the_parts(kind):
    x = tf.reshape(tf.range(32.0), [1, 4, 4, 2])
    first, second = kind(2).split(x)
    other_first, other_second = kind(2, swap=True).split(x)
    np.testing.assert_array_equal(first, other_second)
    np.testing.assert_array_equal(second, other_first)


def test_half_keeps_the_smaller_half_of_an_odd_size():
    first, second = HalfSplit(5).split(tf.constant([[0.0, 1.0, 2.0, 3.0, 4.0]]))
    assert first.numpy().tolist() == [[0.0, 1.0]]
    assert second.numpy().tolist() == [[2.0, 3.0, 4.0]]


def test_checkerboard_parts_are_the_two_colours():
    rows, columns = np.indices((4, 6))
    colour = ((rows + columns) % 2).astype(np.float32)[None, ..., None]
    black, white = CheckerboardSplit(1).split(tf.constant(colour))
    np.testing.assert_array_equal(black, np.zeros([1, 2, 3, 2]))
    np.testing.assert_array_equal(white, np.ones([1, 2, 3, 2]))


def test_checkerboard_parts_keep_the_place_of_their_blocks():
    rows, columns = np.indices((4, 4)) // 2
    block = (2 * rows + columns).astype(np.float32)[None, ..., None]
    for part in CheckerboardSplit(1).split(tf.constant(block)):
        np.testing.assert_array_equal(part[0, :, :, 0], [[0, 1], [2, 3]])
        np.testing.assert_array_equal(part[0, :, :, 1], [[0, 1], [2, 3]])
