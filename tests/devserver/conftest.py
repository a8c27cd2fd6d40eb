"""Models that are quick to write: y = factor * x, on rows of two numbers."""

from collections.abc import Callable

import pytest
import tensorflow as tf


@pytest.fixture
def write() -> Callable:
    """Writes ``base/version``: under a temporary name, then renamed."""

    def write(base, version, factor=1.0, dtype=tf.float32):
        module = tf.Module()
        module.factor = tf.Variable(factor, dtype=dtype)
        spec = tf.TensorSpec([None, 2], dtype, "x")
        function = tf.function(lambda x: {"y": module.factor * x}, input_signature=[spec])
        beside = base / f".writing-{version}"
        tf.saved_model.save(module, str(beside), signatures=function)
        beside.rename(base / str(version))
        return base / str(version)

    return write
