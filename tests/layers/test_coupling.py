import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import MLP, Conditioner, ConvNet
from flowzoo.layers import AffineCoupling
from flowzoo.testing import perturb


class Huge(Conditioner):
    """Returns the same huge parameter for every input."""

    def create_weights(self, input_shape, output_shape, context_shape):
        self.size = output_shape[-1]

    def call(self, x, context=None, training=False):
        return tf.fill(tf.concat([tf.shape(x)[:-1], [self.size]], axis=0), 1e6)


def coupling(event, *args, context=None, **kwargs):
    layer = AffineCoupling(*args, **kwargs)
    layer.build((None, *event), None if context is None else (None, *context))
    perturb(layer, 0.3)
    return layer


@pytest.mark.parametrize("bound", [0.5, 3.0])
def test_the_log_scale_is_bounded(bound):
    bijector = coupling((2,), Huge(), scale_bound=bound).bijector()
    z = tf.constant([[0.0, 1.0]])
    assert float(bijector.forward_log_det_jacobian(z, 1)[0]) == pytest.approx(bound)


def test_the_bound_is_symmetric_and_smooth():
    layer = coupling((2,), MLP((4,)), scale_bound=2.0)
    raw = np.linspace(-8, 8, 9, dtype=np.float32)
    layer.conditioner.last.kernel.assign(tf.zeros_like(layer.conditioner.last.kernel))
    log_scales = []
    for value in raw:
        layer.conditioner.last.bias.assign([0.0, value])
        log_scales.append(float(layer.bijector().forward_log_det_jacobian(tf.zeros([1, 2]), 1)[0]))
    np.testing.assert_allclose(log_scales, 2.0 * np.tanh(raw / 2.0), rtol=1e-5, atol=1e-6)


def test_additive_couplings_preserve_volume(rng):
    bijector = coupling((4,), MLP((4,)), scale_bound=0).bijector()
    x, log_det = bijector.forward_and_log_det(rng.normal(size=(3, 4)).astype(np.float32))
    assert np.all(log_det == 0.0)
    assert np.any(x)


def test_a_new_one_is_the_identity(rng):
    layer = AffineCoupling(MLP((4,)))
    layer.build((None, 4))
    z = rng.normal(size=(5, 4)).astype(np.float32)
    x, log_det = layer.bijector().forward_and_log_det(z)
    np.testing.assert_array_equal(x, z)
    np.testing.assert_array_equal(log_det, np.zeros(5))


def test_swap_leaves_the_other_half_unchanged(rng):
    z = rng.normal(size=(5, 4)).astype(np.float32)
    plain = coupling((4,), MLP((4,))).bijector().forward(z)
    swapped = coupling((4,), MLP((4,)), swap=True).bijector().forward(z)
    np.testing.assert_array_equal(plain[:, :2], z[:, :2])
    np.testing.assert_array_equal(swapped[:, 2:], z[:, 2:])
    assert not np.any(plain[:, 2:] == z[:, 2:])


@pytest.mark.parametrize(
    ("event", "conditioner"), [((4,), lambda: MLP((4,))), ((2, 2, 2), lambda: ConvNet(4, 1))]
)
def test_the_context_reaches_the_map(rng, event, conditioner):
    layer = coupling(event, conditioner(), context=(2,))
    z = rng.normal(size=(3, *event)).astype(np.float32)
    one, other = (layer.bijector(tf.fill([3, 2], value)).forward(z) for value in (0.0, 1.0))
    assert np.any(one.numpy() != other.numpy())


def test_sample_dimensions_broadcast_against_the_context(rng):
    layer = coupling((4,), MLP((4,)), context=(2,))
    context, z = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=(5, 3, 4)).astype(np.float32)
    x, log_det = layer.bijector(context).forward_and_log_det(z)
    assert (x.shape, log_det.shape) == ((5, 3, 4), (5, 3))
    for i in range(3):
        row = layer.bijector(context[i : i + 1]).forward(z[:, i])
        np.testing.assert_allclose(x[:, i], row, rtol=1e-5, atol=1e-6)


def test_mixed_precision_computes_densities_in_float32(rng):
    conditioner = MLP((4,), dtype="mixed_bfloat16")
    layer = coupling((4,), conditioner, dtype="mixed_bfloat16")
    x, log_det = layer.bijector().forward_and_log_det(rng.normal(size=(3, 4)).astype(np.float32))
    assert x.dtype == log_det.dtype == tf.float32
    assert conditioner(tf.ones([1, 2])).dtype == tf.bfloat16


@pytest.mark.parametrize(
    ("event", "mask", "message"),
    [
        ((1,), "half", "at least 2 columns"),
        ((4, 4, 1), "half", "at least 2 columns"),
        ((3, 4, 1), "checkerboard", "even height and width; got"),
        ((4,), "checkerboard", "even height and width; got"),
    ],
)
def test_events_that_cannot_be_split_are_refused(event, mask, message):
    with pytest.raises(ValueError, match=message):
        AffineCoupling(MLP((4,)), mask).build((None, *event))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"mask must be one of.*got 'odd'"):
        AffineCoupling(MLP((4,)), "odd")
    with pytest.raises(ValueError, match="scale_bound must be >= 0; got -1"):
        AffineCoupling(MLP((4,)), scale_bound=-1)
