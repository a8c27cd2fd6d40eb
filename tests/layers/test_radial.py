import numpy as np
import tensorflow as tf

from flowzoo import bijectors
from flowzoo.layers import Radial
from flowzoo.testing import perturb


def test_it_passes_its_weights_to_the_bijector(rng):
    layer = Radial(4, closed="forward", dtype="float64")
    layer.build((None, 3))
    perturb(layer, 0.5)
    shapes = {weight.name: weight.shape for weight in layer.weights}
    assert shapes == {"center": (4, 3), "alpha": (4, 1), "beta": (4, 1)}
    center, alpha, beta = layer.get_weights()
    wanted = bijectors.Radial(center, alpha[:, 0], beta[:, 0], closed="forward", dtype=tf.float64)
    z = tf.constant(rng.normal(size=(5, 3)))
    np.testing.assert_array_equal(layer.bijector().forward(z), wanted.forward(z))


def test_new_steps_reach_as_far_as_standardised_data():
    layer = Radial(2)
    layer.build((None, 9))
    _, alpha, _ = layer.get_weights()
    np.testing.assert_allclose(np.log1p(np.exp(alpha)), 3.0, rtol=1e-6)
