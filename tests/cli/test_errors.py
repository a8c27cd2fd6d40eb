"""Whose mistake an error is, and its one line."""

import pytest

from flowzoo import checks
from flowzoo.cli.errors import is_users_mistake, one_line


def raised(function, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function(*arguments)
    return caught.value


def test_input_and_files_are_the_users():
    for error in (ValueError(), FileNotFoundError(), PermissionError(), ModuleNotFoundError()):
        assert is_users_mistake(error)
    for error in (ZeroDivisionError(), AttributeError(), AssertionError(), BrokenPipeError()):
        assert not is_users_mistake(error)


def test_type_errors_are_the_users_if_flowzoo_raises_them():
    from flowzoo.data import files

    assert is_users_mistake(raised(files.expand, 3))
    assert not is_users_mistake(raised(len, 3))


def test_system_errors_name_the_file(tmp_path):
    assert one_line(raised(open, tmp_path / "x")) == f"{tmp_path / 'x'}: No such file or directory"
    (tmp_path / "file").touch()
    assert "in the way" in one_line(raised((tmp_path / "file").mkdir))


def test_lines_are_joined():
    error = raised(checks.check_event_shape, (5, 3), (2,), "x")
    assert one_line(error) == "x must have shape (N, 2); got (5, 3)."
    assert one_line(ValueError("two\n  lines")).startswith("two lines")
    assert one_line(ValueError()).startswith("ValueError")
    assert "there is no 'key'" in one_line(KeyError("key"))


def test_autographs_wrapping_is_taken_off():
    error = ValueError('in user code:\n\n    File "x.py", line 1, in f\n\n    ValueError: too wide\n')
    assert one_line(error).startswith("too wide")
