"""Selection of columns."""

import pytest

from flowzoo.data.formats.columns import choose


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(None, [0, 1, 2]), ("b", [1]), (2, [2]), ([-1, "a"], [2, 0]), (("c",), [2])],
)
def test_columns_are_chosen_by_name_or_position(columns, expected):
    assert choose(columns, ["a", "b", "c"], "rows.csv") == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("colour", r"rows\.csv has no column 'colour'. Did you mean 'color'"),
        (3, "no column 3; it has 3 columns"),
        (-4, "no column -4"),
        (["a", 1], "twice"),
        ([], "empty"),
    ],
)
def test_wrong_columns_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        choose(columns, ["color", "a", "c"], "rows.csv")
