"""MAF and IAF by name: options, mistakes, and that both learn."""

import numpy as np
import pytest

import flowzoo

SMALL = {"steps": 2, "hidden_units": (16, 16)}


@pytest.mark.parametrize("name", ["maf", "iaf"])
@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
def test_orders(name, order):
    flow = flowzoo.create_model(name, (5,), order=order, **SMALL)
    z = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    np.testing.assert_allclose(flow.encode(flow.decode(z)), z, atol=1e-4)


def test_unknown_order_and_residual_widths_are_refused():
    with pytest.raises(ValueError, match="order must be one of"):
        flowzoo.create_model("maf", (5,), order="sideways")
    with pytest.raises(ValueError, match="odd number of equal widths"):
        flowzoo.create_model("maf", (5,), residual=True, hidden_units=(16, 16))


@pytest.mark.parametrize("name", ["maf", "iaf"])
def test_images_are_vectors_of_pixels(name, rng):
    flow = flowzoo.create_model(name, (4, 4, 1), order="random", pixel_levels=17, **SMALL)
    assert flow.use_xla
    x = rng.integers(0, 17, (64, 4, 4, 1))
    flow.adapt(x)
    z = flow.encode(x)
    assert z.shape == (64, 16)
    np.testing.assert_array_equal(np.floor(flow.decode(z)), x)
    assert flow.sample(3).shape == (3, 4, 4, 1)


@pytest.mark.parametrize("name", ["maf", pytest.param("iaf", marks=pytest.mark.slow)])
def test_fit_learns_a_curved_density(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    x[:, 1] = x[:, 0] ** 2 + 0.3 * x[:, 1]
    flow = flowzoo.create_model(name, (2,), steps=3, hidden_units=(32,))
    flow.adapt(x)
    before = float(np.mean(flow.log_prob(x)))
    flow.fit(x, batch_size=200, epochs=15, verbose=0)
    # A Gaussian reaches -2.58 here; the entropy of the density is 1.63.
    assert float(np.mean(flow.log_prob(x))) > max(before + 0.3, -2.2)
