import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import ConvNet
from flowzoo.layers import ActNorm, AffineCoupling, MultiScale, Squeeze
from flowzoo.testing import perturb


def multiscale(context=None):
    def coupling():
        return AffineCoupling(ConvNet(channels=4, blocks=0))

    layer = MultiScale([[Squeeze(), ActNorm(), coupling()], [ActNorm(), coupling()]])
    layer.build((None, 4, 4, 2), context)
    return layer


def test_latents_are_flat_and_complete():
    layer = multiscale()
    assert layer.latent_shape((4, 4, 2)) == (32,)
    assert layer.bijector().latent_shape == (32,)


def test_all_weights_of_all_scales_are_tracked():
    # Two ActNorms of two weights, two ConvNets of two convolutions.
    assert len(multiscale().trainable_weights) == 2 * 2 + 2 * 4


def test_adapt_reaches_every_scale(rng):
    layer = multiscale()
    x = tf.constant(rng.normal(7.0, 3.0, (200, 4, 4, 2)), tf.float32)
    z = layer.adapt(x)
    assert z.shape == (200, 32)
    # A new coupling is the identity, so both scales end in the outputs of their ActNorm.
    first, last = np.reshape(z[:, :16], [-1, 4]), np.reshape(z[:, 16:], [-1, 4])
    for latents in (first, last):
        np.testing.assert_allclose(latents.mean(0), 0.0, atol=1e-4)
        np.testing.assert_allclose(latents.var(0), 1.0, rtol=1e-3)


def test_adapt_passes_the_first_half_to_the_next_scale(rng):
    layer = MultiScale([[Squeeze()], [ActNorm()]])
    layer.build((None, 2, 2, 1))
    # The four pixels of a block, as channels: the first two go on.
    x = rng.normal([10.0, 20.0, 30.0, 40.0], 0.1, (100, 4)).reshape(100, 2, 2, 1)
    layer.adapt(tf.constant(x, tf.float32))
    np.testing.assert_allclose(layer.scales[1][0].shift, [10.0, 20.0], atol=0.1)


def test_the_context_reaches_every_scale(rng):
    layer = multiscale(context=(None, 3))
    perturb(layer, 0.3)
    x = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    one, other = (layer.bijector(tf.fill([2, 3], value)).inverse(x).numpy() for value in (0.0, 1.0))
    assert np.any(one[:, :16] != other[:, :16])
    assert np.any(one[:, 16:] != other[:, 16:])


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"Scale 0 ends in \(4, 4, 3\): an odd number"):
        MultiScale([[ActNorm()], [ActNorm()]]).build((None, 4, 4, 3))


@pytest.mark.parametrize("scales", [[], [[]], [[ActNorm()], []]])
def test_empty_scales_are_refused(scales):
    with pytest.raises(ValueError, match="at least one scale"):
        MultiScale(scales)
