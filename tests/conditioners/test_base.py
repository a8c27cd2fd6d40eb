import pytest

from flowzoo.conditioners import MLP, Conditioner


def test_it_needs_an_output_shape():
    with pytest.raises(ValueError, match="MLP must be built with an output_shape"):
        MLP((4,)).build((None, 2))


def test_a_subclass_must_create_its_weights():
    with pytest.raises(NotImplementedError):
        Conditioner().build((None, 2), (None, 2))


def test_building_twice_keeps_the_weights():
    network = MLP((4,))
    network.build((None, 2), (None, 3))
    weights = network.weights
    network.build((None, 2), (None, 3))
    assert all(one is other for one, other in zip(network.weights, weights, strict=True))
