"""TensorFlow, Keras and TFP, imported while Python's garbage collector waits."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Imports all that a flow needs, sooner than an import statement would.

    Hundreds of thousands of objects come, to stay; the collector would walk them again and again meanwhile.
    """
    if "flowzoo.flow" not in sys.modules:
        with collector_waiting():
            import flowzoo.flow  # noqa: F401


@contextmanager
def collector_waiting() -> Iterator[None]:
    """The garbage collector waits, and then counts all that there is among the old, without a walk.

    Nothing waits if someone else has stopped the collector, or keeps objects from it.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # These two move everything to the oldest generation.
        gc.enable()
