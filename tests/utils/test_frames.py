"""Data frames as rows: the same numbers from every library, columns by name, and clear errors."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowzoo.utils.frames import frame_columns, frame_rows, is_frame

LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}


@pytest.fixture(params=LIBRARIES)
def make(request):
    return LIBRARIES[request.param]


def test_what_is_a_frame(make):
    assert is_frame(make({"a": [1]}))
    for other in (np.ones((2, 2)), [[1, 2]], 3.0, "a", {"a": [1]}, None):
        assert not is_frame(other)


def test_columns_are_matched_by_name(make):
    frame = make({"b": [1, 2], "a": [0.5, 1.5], "flag": [True, False]})
    assert frame_columns(frame) == ["b", "a", "flag"]
    assert frame_rows(frame, ["a", "flag", "b"], "x").tolist() == [[0.5, 1.0, 1.0], [1.5, 0.0, 2.0]]
    assert frame_rows(frame, None, "x").dtype == np.float64


def test_missing_cells_are_nan(make):
    assert np.isnan(frame_rows(make({"a": [1.0, None]}), None, "x")[1, 0])


def test_nullable_and_object_columns_of_pandas():
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None], "Int64"),
            "f": pd.array([0.5, None], "Float64"),
            "o": np.array([1, 2.5], object),
        }
    )
    rows = frame_rows(frame, None, "x")
    assert rows[0].tolist() == [1.0, 0.5, 1.0]
    assert np.isnan(rows[1, :2]).all()
    assert rows[1, 2] == 2.5


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (["x", "y"], "column 'a' holds 'x' in row 0"),
        (["1.5", "2"], "column 'a' holds '1.5' in row 0"),
        ([datetime.date(2026, 1, 1)] * 2, r"column 'a' holds datetime\.date\(2026, 1, 1\)"),
    ],
)
def test_what_is_not_a_number_is_named_with_its_row(make, cells, shown):
    with pytest.raises(ValueError, match=rf"x: {shown}.*not a number\. Encode the column"):
        frame_rows(make({"a": cells}), None, "x")


def test_missing_misspelt_and_further_columns_are_refused(make):
    frame = make({"speed": [1.0], "torqe": [2.0]})
    with pytest.raises(
        ValueError, match=r"no column 'torque', which the flow was fitted to\. Did you mean 'torqe'"
    ):
        frame_rows(frame, ["speed", "torque"], "x")
    with pytest.raises(ValueError, match=r"the column 'torqe', which the flow does not know.*Drop it"):
        frame_rows(frame, ["speed"], "x")


def test_a_repeated_name_is_refused():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="'a'"):
        frame_rows(frame, None, "x")
