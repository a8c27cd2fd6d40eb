"""Which errors are a user's mistake, and how they read in one line."""

from __future__ import annotations

import re
import types


def is_users_mistake(error: BaseException) -> bool:
    """Whether one line is enough: the input is wrong, not the program.

    A `TypeError`, `KeyError` or `RuntimeError` counts only if flowzoo itself raised it.
    """
    if isinstance(error, BrokenPipeError):  # Our reader is gone: `flowzoo list | head -1`.
        return False
    if isinstance(error, ValueError | OSError | ImportError):
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


def _raised_by_flowzoo(error: BaseException) -> bool:
    frames = error.__traceback__
    module = ""
    while isinstance(frames, types.TracebackType):
        module = frames.tb_frame.f_globals.get("__name__", "")
        frames = frames.tb_next
    return module.split(".")[0] == "flowzoo"
