"""The program `flowzoo`: its commands, and how it reports mistakes."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flowzoo._version import __version__
from flowzoo.cli import (
    demo,
    evaluate,
    export,
    fit,
    info,
    list_models,
    sample,
    score,
    serve,
    train,
    zoo,
)
from flowzoo.cli.console import RICH_HELP, complain, examples
from flowzoo.cli.errors import is_users_mistake, message_for, one_line

# Typer 0.29 brings its own copy of click; this finds the base class of usage errors in either.
_ClickException: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

MISTAKE, INTERRUPTED = 2, 130


class _Program(TyperGroup):
    """Reports a user's mistake in one line on stderr; all other errors keep their traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        standalone = extra.pop("standalone_mode", True)
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except _ClickException as error:
            complain("error", _usage_line(error))
            code = error.exit_code
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        if code == INTERRUPTED:
            complain("interrupted", "stopped before the end")
        if not standalone:
            return code
        raise SystemExit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _shows_warnings(ctx)
            try:
                with _interruptible():
                    return super().invoke(ctx)
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if ctx.params.get("debug") or not is_users_mistake(error):
                    raise
                complain("error", one_line(error, ctx.invoked_subcommand))
                raise typer.Exit(MISTAKE) from None


app = typer.Typer(
    cls=_Program,
    rich_markup_mode="rich" if RICH_HELP else None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "flowzoo list",
        "flowzoo fit rows.csv --out runs/mine",
        "flowzoo score runs/mine rows.csv --out scores.csv",
        "flowzoo demo",
    ),
)
app.command("list", epilog=list_models.EXAMPLES)(list_models.run)
app.command("info", epilog=info.EXAMPLES)(info.run)
app.command("train", epilog=train.EXAMPLES)(train.run)
app.command("fit", epilog=fit.EXAMPLES)(fit.run)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.run)
app.command("sample", epilog=sample.EXAMPLES)(sample.run)
app.command("score", epilog=score.EXAMPLES)(score.run)
app.command("export", epilog=export.EXAMPLES)(export.run)
app.command("serve", epilog=serve.EXAMPLES)(serve.run)
app.command("demo", epilog=demo.EXAMPLES)(demo.run)
app.add_typer(zoo.app, name="zoo")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flowzoo {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def program(
    ctx: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="FLOWZOO_DEBUG", help="Show tracebacks of all errors."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The model zoo of normalizing flows: fit, evaluate, sample, score and export densities."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """Runs the program; the console script's entry point."""
    app()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns every error that a Ctrl-C causes into a KeyboardInterrupt.

    If C++ code calls back into Python, the Ctrl-C raises a SystemError or an error of the unfinished call.
    """
    came = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    # If SIGINT is ignored (a shell's background job) or has another handler, it stays so.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _usage_line(error: Any) -> str:
    text = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text.rstrip('.?')}{text[-1] if text[-1] in '.?' else '.'} See '{context.command_path} --help'."


def _shows_warnings(ctx: Any) -> Callable[..., None]:
    """Shows only flowzoo's warnings; those of other packages are for developers."""

    def show(message: Any, category: Any, filename: str, *_: Any, **__: Any) -> None:
        if Path(filename).is_relative_to(Path(__file__).parents[1]):
            text = message.args[0] if isinstance(message, Warning) and message.args else message
            complain("warning", " ".join(message_for(ctx.invoked_subcommand, text).split()))

    return show
