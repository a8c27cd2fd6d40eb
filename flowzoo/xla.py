"""is_compiling: whether what is traced now will be compiled with XLA."""

from __future__ import annotations

import tensorflow as tf

# The public API does not say. TensorFlow asks itself the same question with this function.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext


def is_compiling() -> bool:
    """Whether a `tf.function(jit_compile=True)` is being traced, here or further out.

    A few ops are fast in one world only, or known to one only.
    """
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
