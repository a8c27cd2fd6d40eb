"""import_tensorflow: TensorFlow, Keras and TFP, imported while Python's garbage collector waits (ADR 14)."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Imports TensorFlow, Keras and TFP faster than an import statement does.

    They create hundreds of thousands of objects that stay; the collector would walk them again and again.
    """
    if "tensorflow_probability.python.distributions" not in sys.modules:
        with collector_waiting():
            import keras  # noqa: F401
            import tensorflow_probability as tfp

            # TFP imports its packages when they are first used.
            _ = tfp.bijectors, tfp.distributions


@contextmanager
def collector_waiting() -> Iterator[None]:
    """Suspends the garbage collector, then moves all new objects to its oldest generation without a walk.

    Does nothing if the collector is already disabled, or if objects are frozen.
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
