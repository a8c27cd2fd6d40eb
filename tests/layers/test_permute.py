import pytest

from flowzoo.layers import Permute


def test_reverse_is_the_default():
    layer = Permute()
    layer.build((None, 3))
    assert layer.bijector().forward([[1.0, 2.0, 3.0]]).numpy().tolist() == [[3.0, 2.0, 1.0]]


def test_a_list_gives_the_source_of_each_entry():
    layer = Permute([1, 2, 0])
    layer.build((None, 3))
    assert layer.bijector().forward([[1.0, 2.0, 3.0]]).numpy().tolist() == [[2.0, 3.0, 1.0]]


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="'reverse' or a list; got 'shuffle'"):
        Permute("shuffle")
