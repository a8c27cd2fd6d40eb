import numpy as np
import pytest

from flowzoo.data.outliers import Bounds, Census


@pytest.fixture
def rows(rng):
    return rng.normal([5.0, 1000.0, 0.0], [1.0, 20.0, 1e-3], (3000, 3))


def test_a_handful_of_absurd_values_does_not_move_the_bounds(rows):
    spoilt = rows.copy()
    spoilt[:6, 1] = [1e12, -1e12, 1e30, 9e9, -5e8, 1e6]
    clean, bounds = Bounds.of_sample(rows), Bounds.of_sample(spoilt)
    np.testing.assert_allclose(bounds.low, clean.low, rtol=0.02)
    np.testing.assert_allclose(bounds.high - bounds.low, 200 * np.array([1.0, 20.0, 1e-3]), rtol=0.1)
    assert bounds.within(spoilt).tolist() == [False] * 6 + [True] * 2994


@pytest.mark.parametrize("draw", ["lognormal", "exponential", "spike"])
def test_skewed_columns_and_spikes_are_not_absurd(rng, draw):
    x = {
        "lognormal": rng.lognormal(0.0, 1.5, (5000, 1)),
        "exponential": rng.exponential(3.0, (5000, 1)),
        "spike": np.where(rng.random((5000, 1)) < 0.8, 0.0, rng.normal(10.0, 1.0, (5000, 1))),
    }[draw]
    bounds = Bounds.of_sample(x)
    assert bounds.hold(x.min(0), x.max(0))


def test_a_column_of_one_value_has_no_bounds():
    bounds = Bounds.of_sample(np.full((200, 1), 3.0))
    assert bounds.within(np.array([[3.0], [1e300]])).all()


def test_a_warning_names_columns_rows_and_distances(rows):
    census = Census(Bounds.of_sample(rows))
    rows[[7, 2500], 1] = 1e6
    for batch in np.split(rows, 3):
        census.update(batch)
    assert census.few
    words = census.warning()
    assert "2 of 3000 rows" in words
    assert "first: row 7" in words
    assert "column 1 (2 rows, up to 5e+04 standard deviations from the median)" in words


def test_many_far_rows_are_a_heavy_tail(rows):
    census = Census(Bounds.of_sample(rows))
    rows[:100, 0] = 1e6
    census.update(rows)
    assert not census.few
