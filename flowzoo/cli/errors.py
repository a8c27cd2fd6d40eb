"""Errors of commands: which of them are a user's mistake, and their text on one line."""

from __future__ import annotations

import re
import shlex
import types

from flowzoo.utils.messages import Argument, Message

# For each argument: its key in a recipe, and its option in the commands that take data.
_KEYS = {
    "columns": ("data.columns", "--columns"),
    "missing": ("data.missing", "--missing"),
    "dequantize": ("model.options.dequantize", None),
    "preprocessing": ("model.options.preprocessing", None),
}


def is_users_mistake(error: BaseException) -> bool:
    """Whether the input is wrong, not the program, so that one line is enough.

    A `TypeError`, `KeyError` or `RuntimeError` counts only if flowzoo itself raised it.
    """
    if isinstance(error, BrokenPipeError):  # The reader of our output has ended: `flowzoo list | head -1`.
        return False
    if isinstance(error, ValueError | OSError | ImportError | FloatingPointError):
        return True
    return isinstance(error, TypeError | KeyError | RuntimeError) and _raised_by_flowzoo(error)


def one_line(error: BaseException, command: str | None = None) -> str:
    """The text of an error on one line, with its arguments as options of a command.

    Args:
        error: The error.
        command: Name of the command; None to write arguments as in Python.
    """
    if isinstance(error, FileExistsError) and error.filename is not None:
        return f"{error.filename} is in the way: it exists and is not a directory."
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    text = message_for(command, error.args[0] if error.args else "").strip() or type(error).__name__
    if text.startswith("in user code:"):
        # AutoGraph wraps an error that is raised while tracing in a traceback of its own.
        text = re.sub(r"^\w+: ", "", text.splitlines()[-1].strip())
    hint = "" if _raised_by_flowzoo(error) else " (flowzoo --debug shows the traceback.)"
    return " ".join(text.split()) + hint


def message_for(command: str | None, message: object) -> str:
    """A message with its arguments as options of a command; other messages are unchanged.

    Example:
        >>> message_for("fit", Message("Choose {some}.", some=Argument("columns", ["speed", "torque"])))
        'Choose --columns speed,torque.'
    """
    if not isinstance(message, Message) or command not in ("train", "fit", "evaluate", "score"):
        return str(message)
    return message.spelled(lambda argument: _option(command, argument))


def _option(command: str, argument: Argument) -> str:
    """An argument as an option of a command."""
    key, option = _KEYS[argument.name]
    value = "" if argument.value is None else _typed(argument.value)
    if command == "train":
        if argument.name == "columns" and isinstance(argument.value, str):
            value = f"[{value}]"
        return f"--set {shlex.quote(f'{key}={value}' if value else key)}"
    if option is None:
        return f"--option {shlex.quote(f'{argument.name}={value}' if value else argument.name)}"
    value = value.removeprefix("[").removesuffix("]")
    return f"{option} {shlex.quote(value)}" if value else option


def _typed(value: object) -> str:
    """A value as it is typed in a shell: ``[a,b]``, ``0.5``, ``drop``."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _raised_by_flowzoo(error: BaseException) -> bool:
    frames = error.__traceback__
    module = ""
    while isinstance(frames, types.TracebackType):
        module = frames.tb_frame.f_globals.get("__name__", "")
        frames = frames.tb_next
    return module.split(".")[0] == "flowzoo"
