"""Output of commands: tables, notes and the examples of a help page; plain text unless on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer

RICH_HELP = sys.stdout.isatty()


def examples(*commands: str) -> str:
    """The examples at the end of a help page, in the markup of Typer's rich or plain help."""
    if RICH_HELP:
        shown = [command.replace("[", "\\[") for command in commands]
        return "\n\n".join(["[bold]Examples[/bold]", *[f"[dim]$[/dim] {line}" for line in shown]])
    # Click does not rewrap a paragraph whose first line is a backspace.
    return "\b\n" + "\n".join(["Examples:", *[f"  $ {command}" for command in commands]])


def complain(kind: str, message: str) -> None:
    """Prints one line on stderr: "error: ..." or "warning: ..."."""
    colour = typer.colors.RED if kind == "error" else typer.colors.YELLOW
    typer.echo(typer.style(f"{kind}:", fg=colour, bold=True) + f" {message}", err=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: drawn by rich on a terminal, otherwise aligned columns that grep and cut can parse."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*headers, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*[cell.replace("[", "\\[") for cell in row])
        Console().print(table)
        return
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    for row in [headers, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def print_nested(value: dict, indent: int = 0) -> None:
    """Prints a nested mapping as indented ``key: value`` lines."""
    for key, item in value.items():
        if isinstance(item, dict):
            typer.echo(" " * indent + f"{key}:")
            print_nested(item, indent + 2)
        elif isinstance(item, list) and len(item) > 100:
            typer.echo(" " * indent + f"{key}: {len(item):,} values")
        else:
            typer.echo(" " * indent + f"{key}: {item}")


@contextmanager
def counter(text: str) -> Iterator[Callable[[int], None]]:
    """Shows a growing count on stderr if that is a terminal; yields the function that sets it."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield lambda count: status.update(f"{text} {count:,}")


def verbosity() -> int:
    """Keras's `verbose`: a progress bar on a terminal, otherwise one line per epoch."""
    return 1 if sys.stdout.isatty() else 2
