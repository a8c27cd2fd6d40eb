import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import Affine, Chain, MultiScale, Squeeze
from flowzoo.testing import check_bijector


def scales(dtype=tf.float32, generator=None):
    """Two scales of squeeze and one affine map: 4x4x1 -> 2x2x4, half goes on -> 1x1x8."""
    generator = generator or np.random.default_rng(1)

    def scale(data_shape, channels):
        latent = (data_shape[0] // 2, data_shape[1] // 2, channels)
        affine = Affine(generator.normal(size=channels), generator.normal(size=channels), latent, dtype=dtype)
        return Chain([Squeeze(data_shape, dtype=dtype), affine], data_shape, dtype=dtype)

    return [scale((4, 4, 1), 4), scale((2, 2, 2), 8)]


def test_it_keeps_its_promises(rng):
    bijector = MultiScale(scales(tf.float64), dtype=tf.float64)
    assert (bijector.latent_shape, bijector.data_shape) == ((16,), (4, 4, 1))
    check_bijector(bijector, rng.normal(size=(3, 16)))


def test_the_second_half_of_the_channels_leaves_first(rng):
    first, second = scales()
    x = rng.normal(size=(3, 4, 4, 1)).astype(np.float32)
    h = first.inverse(x)
    wanted = np.concatenate(
        [np.reshape(h[..., 2:], [3, 8]), np.reshape(second.inverse(h[..., :2]), [3, 8])], axis=1
    )
    np.testing.assert_array_equal(MultiScale([first, second]).inverse(x), wanted)


def test_log_dets_of_the_scales_add_up(rng):
    first, second = scales()
    x = rng.normal(size=(3, 4, 4, 1)).astype(np.float32)
    h, one = first.inverse_and_log_det(x)
    two = second.inverse_and_log_det(h[..., :2])[1]
    log_det = MultiScale([first, second]).inverse_and_log_det(x)[1]
    np.testing.assert_allclose(log_det, one + two, rtol=1e-6)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_dimensions(rng, batch):
    bijector = MultiScale(scales())
    z = rng.normal(size=(*batch, 16)).astype(np.float32)
    x = bijector.forward(z)
    assert x.shape == (*batch, 4, 4, 1)
    np.testing.assert_allclose(bijector.inverse(x), z, atol=1e-5)
