import numpy as np
import pytest

import flowzoo
from flowzoo.applications import interpolate
from flowzoo.applications.interpolation import _arcs
from flowzoo.testing import make_flow, raw_rows


@pytest.fixture(scope="module")
def flow():
    options = {"steps": 1, "levels": 1, "channels": 4, "pixel_levels": 17}
    return make_flow("glow", (4, 4, 1), dtype="float32", **options)


def test_the_ends_are_the_rows_themselves(flow):
    start, end = raw_rows(flow, 3, seed=1), raw_rows(flow, 3, seed=2)
    ways = interpolate(flow, start, end, steps=5)
    assert ways.shape == (3, 5, 4, 4, 1)
    np.testing.assert_array_equal(np.floor(ways[:, 0]), start)
    np.testing.assert_array_equal(np.floor(ways[:, -1]), end)


@pytest.mark.slow
def test_rows_in_between_are_as_likely_as_the_ends():
    flow = flowzoo.from_pretrained("nsf_checkerboard")
    ends = flow.sample(200, seed=0).numpy()
    middle = interpolate(flow, ends[:100], ends[100:], steps=3)[:, 1]
    straight = (ends[:100] + ends[100:]) / 2
    between, mean = (flow.log_prob(rows).numpy().mean() for rows in (middle, straight))
    assert between > mean + 0.5


def test_arcs_keep_length_and_turn_evenly(rng):
    start, end = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in rng.normal(size=(2, 6, 5)))
    ways = _arcs(3 * start, 5 * end, np.linspace(0, 1, 5))
    np.testing.assert_allclose(np.linalg.norm(ways, axis=2), [[3, 3.5, 4, 4.5, 5]] * 6)
    unit = ways / np.linalg.norm(ways, axis=2, keepdims=True)
    turns = np.arccos((unit[:, 1:] * unit[:, :-1]).sum(2))
    np.testing.assert_allclose(turns, np.repeat(turns[:, :1], 4, axis=1))


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-7, 2.0])
def test_an_arc_between_equal_directions_is_straight(factor):
    start = np.array([[3.0, 4.0]])
    np.testing.assert_allclose(
        _arcs(start, factor * start, np.array([0, 0.5, 1]))[0, :, 0],
        [3, 3 * (1 + factor) / 2, 3 * factor],
    )


def test_mistakes(flow):
    rows = raw_rows(flow, 3)
    with pytest.raises(ValueError, match="at least 2, the two ends; got 1"):
        interpolate(flow, rows, rows, steps=1)
    with pytest.raises(ValueError, match="start has 3 rows and end 2"):
        interpolate(flow, rows, rows[:2])
