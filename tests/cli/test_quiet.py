"""Notes of an import are held back, unless the import fails."""

import os

import pytest

from flowzoo.cli.quiet import _stderr_held_back


def test_notes_are_shown_only_if_an_error_occurs(capfd):
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
