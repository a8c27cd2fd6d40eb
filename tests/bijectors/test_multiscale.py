import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import Affine, Chain, MultiScale, Squeeze
from flowzoo.testing import check_bijector


def scales(count=2, dtype=tf.float32):
    """Two scales, each a squeeze and an affine map: a 4x4x1 image becomes 2x2x4, and its half 1x1x8."""
    generator = np.random.default_rng(1)
    size, channels, chains = 2**count, 1, []
    for _ in range(count):
        data_shape, latent = (size, size, channels), (size // 2, size // 2, 4 * channels)
        shift, log_scale = generator.normal(size=(2, 4 * channels))
        affine = Affine(shift, log_scale, latent, dtype=dtype)
        chains.append(Chain([Squeeze(data_shape, dtype=dtype), affine], data_shape, dtype=dtype))
        size, channels = size // 2, 2 * channels
    return chains


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_keeps_its_promises(rng, count):
    bijector = MultiScale(scales(count, tf.float64), dtype=tf.float64)
    assert bijector.data_shape == (2**count, 2**count, 1)
    assert bijector.latent_shape == (4**count,)
    check_bijector(bijector, rng.normal(size=(3, 4**count)))


def test_the_second_half_of_the_channels_becomes_latent_after_each_scale(rng):
    first, second, third = scales(3)
    x = rng.normal(size=(3, 8, 8, 1)).astype(np.float32)
    h = first.inverse(x)
    g = second.inverse(h[..., :2])
    parts = [h[..., 2:], g[..., 4:], third.inverse(g[..., :4])]
    wanted = np.concatenate([np.reshape(part, [3, -1]) for part in parts], axis=1)
    np.testing.assert_array_equal(MultiScale([first, second, third]).inverse(x), wanted)


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
