"""Atomic writes: to a temporary name, then a rename; JSON and digests of files."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary file name next to `path`, and renames it to `path` if the block succeeds.

    Example:
        >>> import pathlib, tempfile
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
        >>> with replacing(target) as beside:
        ...     _ = beside.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keep the suffix, because many writers choose the format by it.
    beside = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield beside
        sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary directory next to `path`, which takes the place of `path` if the block succeeds.

    On Linux the two are exchanged at once: a reader, or a process that is killed, never finds neither.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_directory(path.parent, path.name) as beside:
        yield beside
        sync(beside)
        if not path.exists():
            os.replace(beside, path)
        elif not _exchange(beside, path):
            with temporary_directory(path.parent, path.name) as old:
                os.replace(path, old / path.name)
                os.replace(beside, path)


@contextlib.contextmanager
def temporary_directory(parent: Path, purpose: str) -> Iterator[Path]:
    """A hidden directory in `parent`, removed at the end; those of killed processes are removed as well.

    Args:
        parent: Where to make it.
        purpose: Part of its name.
    """
    remove_orphans(parent)
    prefix = f".{purpose}.flowzoo-{socket.gethostname()}-{os.getpid()}-"
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def remove_orphans(parent: Path) -> None:
    """Removes the temporary directories that killed processes of this machine left in a directory."""
    pattern = re.compile(rf"\..*\.flowzoo-{re.escape(socket.gethostname())}-(\d+)-\w+")
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        match = pattern.fullmatch(name)
        if match and not _is_alive(int(match[1])):
            shutil.rmtree(parent / name, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until a file, or all files of a directory, are on the disk: a rename alone may outrun them."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    for each in paths:
        if each.is_symlink() or not each.exists():
            continue
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            # Some file systems cannot sync a directory.
            if not each.is_dir():
                raise
        finally:
            os.close(descriptor)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes indented JSON atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads JSON; raises a ValueError that names the file if it is not valid."""
    try:
        return json.loads(Path(path).read_text())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the file is damaged.") from None


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names at once; False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
