"""Data that get a warning about repeated values, with the suggested steps, and data that do not."""

import warnings

import numpy as np
import pytest

from flowzoo import Flow
from flowzoo.data.diagnostics import complaints
from flowzoo.data.moments import Moments
from flowzoo.layers import Dequantize, Standardize


def complaints_of(x, steps=0.0, float32=True):
    moments = Moments(x.shape[1:])
    moments.update(x)
    return complaints(moments, x[:2048], np.broadcast_to(steps, x.shape[1:]), float32)


@pytest.fixture
def x(rng):
    return rng.normal(50.0, 10.0, (5000, 3)).astype(np.float32)


def test_continuous_columns_are_fine(x, rng):
    assert complaints_of(x) == []
    # The sample repeats too few values of four decimal places.
    assert complaints_of(x.round(4)) == []
    assert complaints_of(rng.random((5000, 8, 8, 1))) == []


def test_whole_numbers_get_steps_of_1(x):
    x[:, 1] = x[:, 1].round()
    (warning,) = complaints_of(x)
    assert "columns [1] hold whole numbers only" in warning
    assert "dequantize=[0, 1, 0])" in warning
    (warning,) = complaints_of(x.round())
    assert "dequantize=1)" in warning


@pytest.mark.parametrize(("digits", "step"), [(1, 0.1), (2, 0.01)])
def test_rounded_columns_get_the_step_they_are_rounded_to(x, digits, step):
    x[:, 2] = x[:, 2].round(digits)
    (warning,) = complaints_of(x)
    assert "column 2 repeats" in warning
    assert f"rounded to {step:g}" in warning
    assert f"dequantize=[0, 0, {step:g}])" in warning
    # The suggested step removes the warning.
    assert complaints_of(x, [0, 0, step]) == []


def test_steps_that_are_not_powers_of_ten(x):
    x[:, 0] = np.round(x[:, 0] / 0.25) * 0.25
    x[:, 1] = 32.0 + 1.8 * np.round(x[:, 1], 1)
    (warning,) = complaints_of(x)
    assert "dequantize=[0.25, 0.18, 0])" in warning
    assert complaints_of(x, [0.25, 0.18, 0]) == []


def test_a_spike_is_not_rounding(x, rng):
    x[rng.random(5000) < 0.3, 0] = 0.0
    (warning,) = complaints_of(x)
    spike = "column 0 is 0 in 29% of the rows (model these rows separately, or drop the column)."
    assert spike in warning
    assert "dequantize" not in warning, "a step does not help here"


def test_copies_of_rows(x):
    x[1000:2000] = x[:1000]
    (warning,) = complaints_of(x)
    message = "98% of the rows of x are copies of other rows"
    assert message in warning, "not: each column repeats 98% of its values"
    assert complaints_of(x.round(), 1.0) == [], "repeated whole numbers are declared by the steps"


def test_steps_that_are_too_wide_lose_digits(x):
    x[:, 1] = x[:, 1].round(2)
    x[:, [0, 2]] = x[:, [0, 2]].round()
    (warning,) = complaints_of(x, 1.0)
    assert "column 1 of x a step of 1, wider than the gaps" in warning
    assert complaints_of(x, [1.0, 0.01, 1.0]) == []


def test_whole_numbers_that_float32_does_not_hold(rng):
    x = rng.integers(1_600_000_000, 1_700_000_000, (500, 2))
    x[:, 1] %= 1000
    (warning,) = complaints_of(x, 1.0)
    assert "Columns [0] of x hold whole numbers beyond 16,777,216" in warning
    assert complaints_of(x, 1.0, float32=False) == []


def test_images_get_one_warning(rng):
    x = rng.integers(0, 256, (200, 4, 4, 1))
    (warning,) = complaints_of(x)
    assert "preprocessing='pixels'" in warning
    assert complaints_of(x, 1.0) == []


def test_wide_tables_get_a_short_message(rng):
    (warning,) = complaints_of(rng.normal(size=(3000, 60)).round(1))
    assert len(warning) < 700
    assert "52 more columns" in warning


def test_adapt_warns_at_the_users_line_and_only_about_more_than_a_few_rows(x):
    with pytest.warns(UserWarning, match=r"columns \[0, 1, 2\].*dequantize=1\)") as caught:
        Flow([], (3,), preprocessing=[Standardize()]).adapt(x.round())
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Flow([], (3,), preprocessing=[Dequantize([1, 1, 1]), Standardize()]).adapt(x.round())
        Flow([], (3,), preprocessing=[Standardize()]).adapt(x[:90].round())


def test_categories_at_unequal_distances_are_not_called_rounded(x, rng):
    x[:, 0] = rng.choice([1.0, 5.5, 20.25, 31.0], 5000)
    (warning,) = complaints_of(x)
    assert "which are not multiples of one step" in warning
    assert "rounded to" not in warning
