"""Tables and examples in pipes and on terminals."""

import sys

from flowzoo.cli import console


def test_piped_tables_are_aligned_columns(capsys):
    console.print_table(("name", "rows"), [("a", "1"), ("longer", "20")])
    assert capsys.readouterr().out == "name    rows\na       1\nlonger  20\n"


def test_tables_on_a_terminal_are_drawn_by_rich(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.print_table(("name", "shape"), [("a", "[2]")])
    text = capsys.readouterr().out
    assert "name" in text
    assert "[2]" in text


def test_nested_values_are_indented(capsys):
    console.print_nested({"a": 1, "b": {"c": [2]}})
    assert capsys.readouterr().out == "a: 1\nb:\n  c: [2]\n"


def test_long_lists_are_shown_by_their_length(capsys):
    console.print_nested({"a": {"few": [1] * 3, "many": [1] * 2000}})
    assert capsys.readouterr().out == "a:\n  few: [1, 1, 1]\n  many: 2,000 values\n"


def test_examples_for_both_kinds_of_help(monkeypatch):
    assert "\n  $ flowzoo x [1]" in console.examples("flowzoo x [1]")
    monkeypatch.setattr(console, "RICH_HELP", True)
    assert "flowzoo x \\[1]" in console.examples("flowzoo x [1]")


def test_counter_is_silent_in_a_pipe(capsys):
    with console.counter("scored") as show:
        show(3)
    assert capsys.readouterr() == ("", "")
