"""Notes of an import are held back, but not those of one that fails."""

import os

import pytest

from flowzoo.cli.quiet import _stderr_held_back


def test_what_was_held_back_is_shown_if_an_error_comes(capfd):
    with _stderr_held_back():
        os.write(2, b"a note\n")
    with pytest.raises(ImportError):
        _fail_to_import()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "a reason\nafter\n"


def _fail_to_import():
    with _stderr_held_back():
        os.write(2, b"a reason\n")
        raise ImportError
