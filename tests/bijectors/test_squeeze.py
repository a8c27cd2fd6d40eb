import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import Squeeze
from flowzoo.bijectors.squeeze import depth_to_space, space_to_depth
from flowzoo.testing import check_bijector


def test_each_block_of_pixels_becomes_channels():
    image = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    z = Squeeze((4, 4, 1)).inverse(image).numpy()
    assert z.shape == (1, 2, 2, 4)
    assert z[0, 0, 0].tolist() == [0.0, 1.0, 4.0, 5.0]
    assert z[0, 1, 0].tolist() == [8.0, 9.0, 12.0, 13.0]


@pytest.mark.parametrize("data_shape", [(4, 4, 1), (2, 6, 3)])
def test_it_keeps_its_promises(rng, data_shape):
    bijector = Squeeze(data_shape, dtype=tf.float64)
    check_bijector(bijector, rng.normal(size=(3, *bijector.latent_shape)))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_number_of_batch_dimensions(rng, batch):
    images = rng.normal(size=(*batch, 4, 6, 2)).astype(np.float32)
    squeezed = space_to_depth(tf.constant(images))
    assert squeezed.shape == (*batch, 2, 3, 8)
    np.testing.assert_array_equal(depth_to_space(squeezed), images)
    flat = tf.nn.space_to_depth(images.reshape(-1, 4, 6, 2), 2)
    np.testing.assert_array_equal(np.reshape(squeezed, [-1, 2, 3, 8]), flat)
