import numpy as np
import pytest
import tensorflow as tf

from flowzoo import random
from flowzoo.bases import Mixture


def mixture(weights, loc, scale, **kwargs):
    base = Mixture(len(weights), **kwargs)
    base.build((None, *np.shape(loc)[1:]))
    base.logits.assign(np.log(weights))
    base.loc.assign(loc)
    base.log_scale.assign(np.log(scale))
    return base


def sample(base, rows, temperature=1.0):
    return base.sample(tf.constant(random.row_seeds(0, rows)), tf.fill([rows], temperature)).numpy()


def test_components_are_sampled_in_proportion_to_their_weights():
    base = mixture([0.2, 0.5, 0.3], [[-9.0], [0.0], [9.0]], np.ones((3, 1)))
    z = sample(base, 20_000)[:, 0]
    shares = np.histogram(z, [-14, -4.5, 4.5, 14])[0] / 20_000
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=4 * np.sqrt(0.25 / 20_000))


def test_a_cold_sample_is_the_mean_of_its_component_and_the_weights_stay():
    loc = np.array([[-9.0, 1.0], [0.0, 2.0]], np.float32)
    base = mixture([0.25, 0.75], loc, np.ones((2, 2)))
    z, cold = sample(base, 1000), sample(base, 1000, 0.0)
    np.testing.assert_array_equal(np.unique(cold, axis=0), loc)
    np.testing.assert_array_equal(cold[:, 0] < -4.5, z[:, 0] < -4.5)


def test_where_a_sample_is_does_not_depend_on_its_component():
    base = mixture([0.5, 0.5], [[-9.0], [9.0]], np.ones((2, 1)))
    z = sample(base, 20_000)[:, 0]
    for side in (-9.0, 9.0):
        own = z[np.sign(z) == np.sign(side)] - side
        assert abs(own.mean()) < 4 / np.sqrt(len(own))
        assert own.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("edge", [0.0, 1.0 - 2.0**-24])
def test_the_rarest_noise_still_chooses_one_component(monkeypatch, edge):
    base = mixture(np.full(7, 1 / 7), np.arange(7.0)[:, None], np.ones((7, 1)))
    monkeypatch.setattr(random, "uniform", lambda *_: tf.fill([1, 1], edge))
    assert float(sample(base, 1, 0.0)[0, 0]) == (0.0 if edge == 0.0 else 6.0)


def test_a_component_without_weight_is_never_sampled():
    base = mixture([1e-30, 1.0, 1e-30], [[-9.0], [0.0], [9.0]], np.ones((3, 1)))
    assert np.abs(sample(base, 5000)).max() < 6


def test_a_new_one_has_about_unit_variance_and_components_that_differ():
    base = Mixture(400, spread=0.6)
    base.build((None, 3))
    np.testing.assert_allclose(base.loc.numpy().std(), 0.6, rtol=0.1)
    np.testing.assert_allclose(base.distribution().stddev(), np.ones(3), atol=0.1)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="components must be at least 1; got 0"):
        Mixture(0)
    with pytest.raises(ValueError, match="spread must lie between 0 and 1; got 1"):
        Mixture(3, spread=1.0)
