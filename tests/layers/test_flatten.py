from flowzoo.layers import Flatten, flattened


def test_shapes():
    layer = Flatten()
    layer.build((None, 4, 4, 2))
    assert layer.latent_shape((4, 4, 2)) == (32,)
    assert layer.bijector().latent_shape == (32,)


def test_vectors_need_no_layer():
    assert flattened((5,)) == ([], (5,))
    (layer,), shape = flattened((4, 4, 2))
    assert isinstance(layer, Flatten)
    assert shape == (32,)
