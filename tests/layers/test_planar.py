import numpy as np
import tensorflow as tf

from flowzoo import bijectors
from flowzoo.layers import Planar
from flowzoo.testing import perturb


def test_it_passes_its_weights_to_the_bijector(rng):
    layer = Planar(4, closed="forward", dtype="float64")
    layer.build((None, 3))
    perturb(layer, 0.5)
    assert {weight.name: weight.shape for weight in layer.weights} == {"w": (4, 3), "u": (4, 3), "b": (4, 1)}
    w, u, b = layer.get_weights()
    wanted = bijectors.Planar(w, u, b[:, 0], closed="forward", dtype=tf.float64)
    z = tf.constant(rng.normal(size=(5, 3)))
    np.testing.assert_array_equal(layer.bijector().forward(z), wanted.forward(z))
