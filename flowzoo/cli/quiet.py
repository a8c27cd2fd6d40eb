"""Quiet import of TensorFlow, without the notes that its C++ code writes to stderr."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from flowzoo.backend import imports


def import_tensorflow() -> None:
    """Imports TensorFlow, Keras and TFP; quiet unless TF_CPP_MIN_LOG_LEVEL is 0 or 1."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # flowzoo needs TensorFlow, whatever ~/.keras/keras.json says.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] in ("0", "1"):
        imports.import_tensorflow()
        return
    # The level does not silence the first notes: they come before absl's logging is set up.
    with _stderr_held_back():
        imports.import_tensorflow()
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Holds back what the process writes to stderr; shows it only if an error occurs."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
