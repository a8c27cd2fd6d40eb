import numpy as np
import pytest

from flowzoo.layers import Spline
from flowzoo.testing import check_bijector, perturb


def layer_of(event, moved=True, **kwargs):
    layer = Spline(**{"bins": 4, **kwargs})
    layer.build((None, *event))
    if moved:
        perturb(layer, 0.5)
    return layer


@pytest.mark.parametrize("event", [(1,), (5,), (2, 2, 3)])
def test_inverse_and_jacobian(rng, event):
    layer = layer_of(event, dtype="float64")
    check_bijector(layer.bijector(), 1.5 * rng.normal(size=(3, *event)))


def test_a_new_one_is_the_identity(rng):
    x = rng.normal(size=(6, 3)).astype(np.float32)
    z, log_det = layer_of((3,), moved=False).bijector().inverse_and_log_det(x)
    np.testing.assert_allclose(z, x, rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(6), rtol=0, atol=1e-5)


def test_each_column_has_its_own_spline_and_pixels_share_their_channels():
    for event in ((2,), (3, 3, 2)):
        layer = layer_of(event)
        assert layer.parameters.shape == (11, 2)
        z = layer(np.full((1, *event), 0.4, np.float32)).numpy().reshape(-1, 2)
        assert np.ptp(z, axis=0).max() < 1e-6
        assert abs(z[0, 0] - z[0, 1]) > 1e-3
