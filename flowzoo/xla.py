"""Tells code that is being traced whether XLA will compile it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_compiling: ContextVar[bool] = ContextVar("compiling_with_xla", default=False)


@contextlib.contextmanager
def compiling(with_xla: bool) -> Iterator[None]:
    """Marks what is traced inside of the block as compiled with XLA, or not.

    A `tf.function(jit_compile=True)` does not tell its body; and a few ops are fast in one world only.
    """
    token = _compiling.set(with_xla)
    try:
        yield
    finally:
        _compiling.reset(token)


def is_compiling() -> bool:
    """Whether what is traced now will be compiled with XLA."""
    return _compiling.get()
