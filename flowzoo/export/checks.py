"""Checks before an export writes anything: the flow's weights and the directory."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np

from flowzoo.density import Density

_SHOWN = 3


def check_weights(density: Density) -> None:
    """Raises a ValueError if weights are not finite: such a flow marks every row as bad."""
    paths = [weight.path for weight in density.weights if not np.isfinite(weight.value.numpy()).all()]
    if paths:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise ValueError(
            f"Some weights hold NaN or infinity: {', '.join(paths[:_SHOWN])}{more}. Nothing was written. "
            "Load weights of an earlier epoch, or train again with a lower learning rate."
        )


def make_directory(path: str | os.PathLike) -> Path:
    """Creates the directory if necessary and returns it.

    Raises:
        ValueError: If a file is in the way, or the path is a URL.
        PermissionError: If it cannot be written to.
    """
    if re.match(r"[a-z][a-z0-9]+:/", os.fspath(path)):  # pathlib.Path turns gs:// into gs:/.
        raise ValueError(f"An export goes to a local directory; got {os.fspath(path)}. Export, then copy.")
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            f"{error.filename} is in the way: it is a file, but an export writes a directory. Choose another."
        ) from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write into this directory", str(directory))
    return directory
