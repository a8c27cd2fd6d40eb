"""XLA: whether the current trace is compiled, for which device, and XLA programs for parts of a graph."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# The public API has no such query; TensorFlow itself uses this function.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

_in_programs = contextvars.ContextVar("flowzoo_xla_programs", default=False)


def is_compiling() -> bool:
    """Whether the current trace is part of a `tf.function(jit_compile=True)`.

    Some ops exist, or are fast, only with XLA or only without it.
    """
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def on_gpu() -> bool:
    """Whether there is a GPU to compile for."""
    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def programs(wanted: bool = True) -> Iterator[None]:
    """Within this context, each call of `program` in a graph that runs op by op is an XLA program.

    On a CPU convolutions are faster op by op, and long chains of elementwise ops are faster under XLA. Use it
    only for graphs that stay in this process: TensorFlow Serving does not run such programs.
    """
    token = _in_programs.set(wanted)
    try:
        yield
    finally:
        _in_programs.reset(token)


def program(function: Callable, static: tuple, *tensors: tf.Tensor) -> Any:
    """Calls ``function(*static, *tensors)``, as a separate XLA program within `programs`.

    Args:
        function: A pure function.
        static: Hashable arguments. A function is compiled once for each value of these and each shape.
        *tensors: Tensor arguments.
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
