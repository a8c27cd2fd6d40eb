"""Fetches presets from a remote registry into a cache and checks them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from flowzoo._version import __version__
from flowzoo.storage import files
from flowzoo.storage.registry import INDEX, Entry, Stamp, check_name, parse_index, read_index
from flowzoo.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    import filelock

TIMEOUT, BLOCK, INDEX_LIMIT = 30.0, 2**20, 16 * 2**20


def cache_directory() -> Path:
    """Directory of the fetched presets: FLOWZOO_CACHE, or ``flowzoo`` in the user's cache directory."""
    own = os.environ.get("FLOWZOO_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flowzoo"


def fetch_preset(registry: str | os.PathLike, name: str) -> Path:
    """The cached directory of a registry's preset; fetches the files that are missing.

    An interrupted fetch resumes where it stopped. A file gets its final name once its size and sha256 match
    the registry's index. Several processes may fetch the same preset at the same time.

    Args:
        registry: A URL (https://, gs://, s3://, file://, or any other that fsspec reads) or a directory.
        name: Name of the preset.

    Raises:
        ValueError: If there is no such preset (the message names the closest ones), or a file does not match
            the index.
        OSError: If the registry cannot be read.
    """
    url, cache = _address(registry), _cache_of(registry)
    entries = fetch_index(registry)
    if name not in entries:
        hint = did_you_mean(name, list(entries)) if entries else "It is empty."
        raise ValueError(f"The registry {url} has no preset {name!r}. {hint}")
    entry = entries[name]
    # A preset that is published again under the same name gets its own directory.
    directory = cache / check_name(name, url) / _digest(repr(sorted(entry.files.items())))
    if all(stamp.problem(directory / file) is None for file, stamp in entry.files.items()):
        return directory  # Without a lock, which a read-only cache cannot hold.
    with _locked(directory):
        for file, stamp in entry.files.items():
            if stamp.problem(directory / file) is not None:
                _fetch(f"{url}/{name}/{file}", directory / file, stamp)
    return directory


def _locked(directory: Path) -> filelock.BaseFileLock:
    """The lock of a directory, which is created if necessary; a process that dies releases it."""
    import filelock

    directory.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(directory.with_suffix(".lock"))


def _address(registry: str | os.PathLike) -> str:
    text = os.fspath(registry).rstrip("/")
    return text if "://" in text else str(Path(text).expanduser().absolute())


def _cache_of(registry: str | os.PathLike) -> Path:
    return cache_directory() / _digest(_address(registry))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fetch_index(registry: str | os.PathLike) -> dict[str, Entry]:
    """A registry's presets by name; if it cannot be reached, those of the last fetched index.

    Args:
        registry: URL or directory, as in `fetch_preset`.

    Raises:
        ValueError: If its index is damaged, has a newer format, or lists a file that a preset does not have.
        OSError: If the registry cannot be read.
    """
    url, cache = _address(registry), _cache_of(registry)
    kept = cache / INDEX
    try:
        with _open(f"{url}/{INDEX}", 0) as (stream, _):
            text = stream.read(INDEX_LIMIT)
    except OSError as error:
        if not kept.is_file():
            raise
        warnings.warn(f"{error} Using the index that was fetched before.", stacklevel=2)
        return read_index(kept)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{url}/{INDEX} is not valid JSON ({error}); the file is damaged.") from None
    entries = parse_index(content, f"{url}/{INDEX}")
    # A read-only cache keeps the index that it has.
    with contextlib.suppress(OSError), _locked(cache):
        files.write_json(kept, content)
    return entries


def _fetch(url: str, target: Path, stamp: Stamp) -> None:
    partial = target.with_name(f".{target.name}.partial")
    resumed = partial.exists()
    problem = _append(url, partial, stamp)
    if problem is not None and resumed:
        # The partial file may be the beginning of another file.
        problem = _append(url, partial, stamp)
    if problem is not None:
        raise ValueError(
            f"{url} {problem}. The download was discarded. Try again, then report it to the registry's owner."
        )
    os.replace(partial, target)


def _append(url: str, partial: Path, stamp: Stamp) -> str | None:
    """Fetches the missing bytes; returns what is wrong with the file, which is then deleted, or None."""
    held = partial.stat().st_size if partial.exists() else 0
    if held < stamp.size:
        # One byte beyond the expected size is enough to detect another file.
        blocks = _blocks(url, held, stamp.size + 1)
        start = next(blocks)
        with open(partial, "ab" if start else "wb") as file:
            held = start + sum(file.write(block) for block in blocks)
    if held < stamp.size:
        raise OSError(
            f"{url} ended after {held:,} of {stamp.size:,} bytes: the connection broke, or the file in the "
            "registry is incomplete. Try again: the fetch resumes there."
        )
    problem = stamp.problem(partial)
    if problem is not None:
        partial.unlink()
    return problem


def _blocks(url: str, start: int, end: int) -> Iterator[Any]:
    """Yields the offset of a stream (`start`, or 0 if the server supports no ranges), then its blocks."""
    with _open(url, start) as (stream, begin):
        yield begin
        left = end - begin
        while left and (block := stream.read(min(BLOCK, left))):
            left -= len(block)
            yield block


@contextlib.contextmanager
def _open(url: str, start: int) -> Iterator[tuple[IO[bytes], int]]:
    """Opens a stream at byte `start`, or at 0 if the server supports no ranges; yields it and its offset.

    Every failure is an OSError.
    """
    try:
        with contextlib.ExitStack() as stack:
            opened = _open_http if url.startswith(("https://", "http://")) else _open_elsewhere
            stream, begin = opened(url, start)
            yield stack.enter_context(stream), begin
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise OSError(f"{url} cannot be read: {reason}.") from error


def _open_http(url: str, start: int) -> tuple[Any, int]:
    headers = {"User-Agent": f"flowzoo/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open_http(url, 0)
        raise
    return response, start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0


def _open_elsewhere(url: str, start: int) -> tuple[Any, int]:
    file_system, path = file_system_of(url)
    stream = file_system.open(path, "rb")
    stream.seek(start)
    return stream, start


def file_system_of(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it.

    Raises:
        ValueError: If the protocol is unknown, or its package is not installed.
    """
    import fsspec.core

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: {error}. (gs:// needs gcsfs, s3:// needs s3fs.)") from None
