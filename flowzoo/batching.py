"""Runs a function of rows over any number of rows: in chunks, padded to few sizes, a part on each core."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

# Fewer rows than this are not worth a call of their own on another core.
_LEAST_ROWS = 64


class RowFunction:
    """A compiled function of tensors with the same number of rows.

    XLA compiles anew for each shape, and memory grows with the rows. So rows go through in chunks,
    and the last chunk is padded (with copies of its first row) to a power of two and cut again.

    XLA's programs for CPUs run small products and everything between them on one core. So a chunk is cut in
    equal parts, and TensorFlow runs the one compiled program on all of them at once.

    Inside of another trace the plain function is called: the caller's trace is what compiles.

    Args:
        function: Takes tensors ``[N, ...]``, returns a nest of tensors ``[N, ...]``; a row of the result
            depends on that row alone.
        chunk: Rows in a chunk, a power of two.
        jit_compile: Whether to compile with XLA.
    """

    def __init__(self, function: Callable, chunk: int, jit_compile: bool):
        self._function = function
        self._compiled = tf.function(function, jit_compile=jit_compile, autograph=False)
        self._side_by_side = tf.function(self._in_parts, autograph=False)
        self._most_parts = _cores() if jit_compile else 1
        self._of_size: dict[tuple, Callable] = {}
        self._chunk = chunk

    def __call__(self, *tensors):
        """The function of the given rows."""
        if not tf.executing_eagerly():
            return self._function(*tensors)
        rows = int(tensors[0].shape[0])
        if rows <= self._chunk:
            return self._run(tensors)
        results = [
            self._run([tensor[start : start + self._chunk] for tensor in tensors])
            for start in range(0, rows, self._chunk)
        ]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)

    def _run(self, tensors):
        rows = int(tensors[0].shape[0])
        size = 1 << max(rows - 1, 0).bit_length()
        if rows == size:
            return self._compiled_for(tensors)(*tensors)
        tensors = [_pad(tensor, size - rows) for tensor in tensors]
        padded = self._compiled_for(tensors)(*tensors)
        return tf.nest.map_structure(lambda tensor: tensor[:rows], padded)

    def _compiled_for(self, tensors):
        """One trace a size, which is meant: `tf.function` itself would warn of so many."""
        key = tuple((tensor.dtype, *tensor.shape) for tensor in tensors)
        if key not in self._of_size:
            function = self._compiled if self._parts(tensors) == 1 else self._side_by_side
            self._of_size[key] = function.get_concrete_function(*tensors)
        return self._of_size[key]

    def _parts(self, tensors):
        """In how many parts rows are cut: a power of two, as their number is."""
        most = min(self._most_parts, tensors[0].shape[0] // _LEAST_ROWS)
        return 1 << max(most, 1).bit_length() - 1

    def _in_parts(self, *tensors):
        parts = zip(*[tf.split(tensor, self._parts(tensors)) for tensor in tensors], strict=True)
        results = [self._compiled(*part) for part in parts]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)


def _cores() -> int:
    """How many programs can run side by side: one on a GPU, which is filled by one."""
    if tf.config.list_logical_devices("GPU"):
        return 1
    return tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1


def _pad(tensor, count):
    if tensor.shape[0]:
        filler = tf.repeat(tensor[:1], count, axis=0)
    else:
        filler = tf.zeros([count, *tensor.shape[1:]], tensor.dtype)
    return tf.concat([tensor, filler], axis=0)
