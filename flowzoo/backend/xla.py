"""What is compiled with XLA: for which device, whether what is traced now is, and programs for a part."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# The public API does not say. TensorFlow asks itself the same question with this function.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

_in_programs = contextvars.ContextVar("flowzoo_xla_programs", default=False)


def is_compiling() -> bool:
    """Whether a `tf.function(jit_compile=True)` is being traced, here or further out.

    A few ops are fast in one world only, or known to one only.
    """
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def on_gpu() -> bool:
    """Whether there is a GPU to compile for."""
    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def programs(wanted: bool = True) -> Iterator[None]:
    """Within it, what is traced op by op has an XLA program wherever `program` is asked for one.

    Convolutions are faster op by op on a CPU, and long chains of elementwise ops are not. Only for what stays
    in this process: TensorFlow Serving does not run such programs.
    """
    token = _in_programs.set(wanted)
    try:
        yield
    finally:
        _in_programs.reset(token)


def program(function: Callable, static: tuple, *tensors: tf.Tensor) -> Any:
    """``function(*static, *tensors)``, as an XLA program of its own within `programs`.

    Args:
        function: A pure function.
        static: Hashable arguments. One function with the same ones is compiled once for each shape.
        *tensors: Its other arguments.
    """
    if not _in_programs.get():
        return function(*static, *tensors)
    return _compiled(function, static)(*tensors)


@functools.cache
def _compiled(function: Callable, static: tuple) -> Callable:
    def plain(*tensors):
        with programs(False):
            return function(*static, *tensors)

    return tf.function(plain, jit_compile=True, autograph=False)
