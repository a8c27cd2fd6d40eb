"""held: a lock on a directory that names its owner."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LOCK = ".flowzoo.lock"


@contextlib.contextmanager
def held(directory: Path, what: str) -> Iterator[None]:
    """Holds the lock of a directory; a process that dies releases it.

    Args:
        directory: The directory, which exists.
        what: What the directory is used for, in the message.

    Raises:
        RuntimeError: If another process holds it; the message names that process.
    """
    import filelock

    path = directory / LOCK
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        owner = _read(directory / f"{LOCK}.owner")
        raise RuntimeError(
            f"{directory} is in use: {what} of {owner}. Wait for it, stop it, or choose another directory."
        ) from None
    try:
        owner = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        (directory / f"{LOCK}.owner").write_text(owner)
        yield
    finally:
        (directory / f"{LOCK}.owner").unlink(missing_ok=True)
        lock.release()


def _read(path: Path) -> str:
    try:
        return path.read_text() or "another process"
    except OSError:
        return "another process"
