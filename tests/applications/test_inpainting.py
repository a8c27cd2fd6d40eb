import numpy as np
import pytest

from flowzoo import Flow, layers
from flowzoo.applications import inpaint
from flowzoo.testing import make_flow, raw_rows


@pytest.fixture(scope="module")
def image_flow():
    options = {"steps": 1, "levels": 1, "channels": 4, "pixel_levels": 17}
    return make_flow("glow", (4, 4, 1), dtype="float32", **options)


def gaussian_of(linear, preprocessing):
    """The density of columns z1 and 0.8 z1 + z2 in other units."""
    flow = Flow(linear, (2,), preprocessing=[preprocessing])
    z = np.random.default_rng(0).normal(size=(20_000, 2))
    x = np.stack([z[:, 0], 0.8 * z[:, 0] + z[:, 1]], axis=1)
    flow.adapt(x * [2.0, 5.0] + [10.0, 20.0])
    return flow


@pytest.fixture(scope="module")
def gaussian():
    linear = layers.LULinear()
    flow = gaussian_of([linear], layers.Standardize())
    linear.lu.assign([[0.0, 0.0], [-0.8, 0.0]])
    return flow


def test_known_entries_stay_the_same(image_flow):
    x = raw_rows(image_flow, 3)
    known = np.arange(16).reshape(4, 4, 1) < 8
    filled = inpaint(image_flow, x, known, samples=2, steps=5)
    assert filled.shape == (3, 2, 4, 4, 1)
    np.testing.assert_array_equal(filled[:, :, :2], np.repeat(x[:, None, :2], 2, axis=1))
    unknown = filled[:, :, 2:]
    assert (unknown >= 0).all()
    assert (unknown < 17).all()
    assert not np.array_equal(unknown[:, 0], unknown[:, 1])


@pytest.mark.parametrize("whitens", [False, True])
def test_the_unknown_follows_its_distribution_given_the_known(gaussian, whitens):
    gaussian = gaussian_of([], layers.Whiten()) if whitens else gaussian
    x = np.array([[13.0, np.nan]])
    filled = inpaint(gaussian, x, [True, False], samples=2000, steps=300, temperature=1.0)[0]
    np.testing.assert_array_equal(filled[:, 0], 13.0)
    draws = gaussian.sample(200_000, seed=0).numpy()
    near = draws[np.abs(draws[:, 0] - 13.0) < 0.05, 1]
    assert len(near) > 500
    np.testing.assert_allclose(filled[:, 1].mean(), near.mean(), atol=0.15 * near.std())
    np.testing.assert_allclose(filled[:, 1].std(), near.std(), rtol=0.15)


def test_a_lower_temperature_scatters_less(gaussian):
    x = np.array([[13.0, 0.0]])
    warm, cold = (
        inpaint(gaussian, x, [True, False], samples=500, steps=200, temperature=t)[0, :, 1].std()
        for t in (1.0, 0.3)
    )
    assert cold < 0.5 * warm


def test_one_seed_gives_one_completion(gaussian):
    x = np.array([[13.0, 0.0]])
    one, same, other = (inpaint(gaussian, x, [True, False], steps=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one[0, 0, 1] != other[0, 0, 1]


def test_the_context_is_used():
    flow = make_flow("realnvp", (2,), (3,), dtype="float32", steps=1, hidden_units=(4,))
    x, context = raw_rows(flow, 2), np.eye(3)[:2]
    filled = inpaint(flow, x, [False, True], context, steps=3)
    assert filled.shape == (2, 1, 2)
    with pytest.raises(ValueError, match="context"):
        inpaint(flow, x, [False, True], steps=3)


def test_mistakes(gaussian):
    with pytest.raises(ValueError, match=r"known must broadcast against x of shape \(1, 2\); got \(3,\)"):
        inpaint(gaussian, [[1.0, 2.0]], [True, False, True])
    with pytest.raises(ValueError, match="the known entries of x"):
        inpaint(gaussian, [[np.nan, 2.0]], [True, False])
    with pytest.raises(ValueError, match="at least 1; got 0 and 400"):
        inpaint(gaussian, [[1.0, 2.0]], [True, False], samples=0)
    with pytest.raises(ValueError, match="shape"):
        inpaint(gaussian, [[1.0, 2.0, 3.0]], [True, False, True])
