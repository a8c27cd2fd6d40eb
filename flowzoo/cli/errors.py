"""Which errors are a user's mistake, and how they read in one line and in the words of a command."""

from __future__ import annotations

import re
import shlex
import types

# What a message of the library says, as options of fit, evaluate and score, and as `--set` of train.
_LIST, _NAME, _NONE = r"columns=\[([^]]+)\]", r"columns='([^']+)'", r"columns=()(?![\w\['])"
_WORDS = (
    *[(pattern, "--columns", "data.columns=[{}]") for pattern in (_LIST, _NAME)],
    (_NONE, "--columns", "data.columns"),
    (r"missing='(\w+)'", "--missing", "data.missing={}"),
    (r"create_model\(\.\.\., (dequantize=(?:\[[^]]*\]|[^])\s]+))\)", "--option", "model.options.{}"),
)


def is_users_mistake(error: BaseException) -> bool:
    """Whether one line is enough: the input is wrong, not the program.

    A `TypeError`, `KeyError` or `RuntimeError` counts only if flowzoo itself raised it.
    """
    if isinstance(error, BrokenPipeError):  # Our reader is gone: `flowzoo list | head -1`.
        return False
    if isinstance(error, ValueError | OSError | ImportError | FloatingPointError):
        return True
    return isinstance(error, TypeError | KeyError | RuntimeError) and _raised_by_flowzoo(error)


def one_line(error: BaseException) -> str:
    """What the error says, on one line."""
    if isinstance(error, FileExistsError) and error.filename is not None:
        return f"{error.filename} is in the way: it exists and is not a directory."
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    text = str(error).strip() or type(error).__name__
    if text.startswith("in user code:"):
        # AutoGraph wraps an error that is raised while tracing in a traceback of its own.
        text = re.sub(r"^\w+: ", "", text.splitlines()[-1].strip())
    hint = "" if _raised_by_flowzoo(error) else " (flowzoo --debug shows where.)"
    return " ".join(text.split()) + hint


def in_words_of(command: str | None, text: str) -> str:
    """A message with a command's options in the place of the library's arguments.

    Example:
        >>> in_words_of("fit", "Choose others: columns=['speed', 'torque'].")
        'Choose others: --columns speed,torque.'
    """
    if command not in ("train", "fit", "evaluate", "score"):
        return text

    def option(name, key):
        def shown(match):
            value = match[1].replace("'", "").replace(", ", ",")
            if command == "train":
                return f"--set {shlex.quote(key.format(value))}"
            return f"{name} {shlex.quote(value)}" if value else name

        return shown

    for pattern, name, key in _WORDS:
        text = re.sub(pattern, option(name, key), text)
    return text


def _raised_by_flowzoo(error: BaseException) -> bool:
    frames = error.__traceback__
    module = ""
    while isinstance(frames, types.TracebackType):
        module = frames.tb_frame.f_globals.get("__name__", "")
        frames = frames.tb_next
    return module.split(".")[0] == "flowzoo"
