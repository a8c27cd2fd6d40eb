"""Errors: which of them are a user's mistake, and their text on one line."""

import pickle

import pytest

from flowzoo.cli.errors import is_users_mistake, message_for, one_line
from flowzoo.utils import validation
from flowzoo.utils.messages import Argument, Message


def raised(function, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function(*arguments)
    return caught.value


def test_errors_of_input_and_files_are_users_mistakes():
    for error in (
        ValueError(),
        FloatingPointError(),
        FileNotFoundError(),
        PermissionError(),
        ModuleNotFoundError(),
    ):
        assert is_users_mistake(error)
    for error in (ZeroDivisionError(), AttributeError(), AssertionError(), BrokenPipeError()):
        assert not is_users_mistake(error)


def test_type_errors_are_users_mistakes_if_flowzoo_raises_them():
    from flowzoo.data import files

    assert is_users_mistake(raised(files.expand, 3))
    assert not is_users_mistake(raised(len, 3))


def test_system_errors_name_the_file(tmp_path):
    assert one_line(raised(open, tmp_path / "x")) == f"{tmp_path / 'x'}: No such file or directory"
    (tmp_path / "file").touch()
    assert "in the way" in one_line(raised((tmp_path / "file").mkdir))


def test_lines_are_joined():
    error = raised(validation.check_event_shape, (5, 3), (2,), "x")
    assert one_line(error) == "x must have shape (N, 2); got (5, 3)."
    assert one_line(ValueError("two\n  lines")).startswith("two lines")
    assert one_line(ValueError()).startswith("ValueError")
    assert "there is no 'key'" in one_line(KeyError("key"))


def test_the_wrapping_of_autograph_is_removed():
    error = ValueError('in user code:\n\n    File "x.py", line 1, in f\n\n    ValueError: too wide\n')
    assert one_line(error).startswith("too wide")


@pytest.mark.parametrize(
    ("argument", "python", "fit", "train"),
    [
        (
            Argument("columns", ["a", "b c"]),
            "columns=['a', 'b c']",
            "--columns 'a,b c'",
            "--set 'data.columns=[a,b c]'",
        ),
        (Argument("columns", "a"), "columns='a'", "--columns a", "--set 'data.columns=[a]'"),
        (Argument("columns"), "columns=", "--columns", "--set data.columns"),
        (Argument("missing", "drop"), "missing='drop'", "--missing drop", "--set data.missing=drop"),
        (
            Argument("dequantize", [1.0, 0.5]),
            "create_model(..., dequantize=[1, 0.5])",
            "--option 'dequantize=[1,0.5]'",
            "--set 'model.options.dequantize=[1,0.5]'",
        ),
        (
            Argument("dequantize"),
            "create_model(..., dequantize=)",
            "--option dequantize",
            "--set model.options.dequantize",
        ),
    ],
)
def test_a_message_names_the_options_of_the_command(argument, python, fit, train):
    message = Message("Take {way}.", way=argument)
    for error in (ValueError(message), pickle.loads(pickle.dumps(ValueError(message)))):
        assert str(error) == f"Take {python}."
        assert message_for("fit", error.args[0]) == f"Take {fit}."
        assert message_for("train", error.args[0]) == f"Take {train}."
        assert message_for("export", error.args[0]) == f"Take {python}."
    assert one_line(ValueError(message), "fit").startswith(f"Take {fit}.")
