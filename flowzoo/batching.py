"""Runs a function of rows over any number of rows: in chunks, padded to few sizes, compiled once a size."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


class RowFunction:
    """A compiled function of tensors with the same number of rows.

    XLA compiles anew for each shape, and memory grows with the rows. So rows go through in chunks,
    and the last chunk is padded (with copies of its first row) to a power of two and cut again.

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
        self._of_size: dict[tuple, Callable] = {}
        self._chunk = chunk

    def __call__(self, *tensors):
        """The function of the given rows."""
        if not tf.executing_eagerly():
            return self._function(*tensors)
        rows = int(tensors[0].shape[0])
        results = [
            self._run([tensor[start : start + self._chunk] for tensor in tensors])
            for start in range(0, max(rows, 1), self._chunk)
        ]
        if len(results) == 1:
            return results[0]
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
            self._of_size[key] = self._compiled.get_concrete_function(*tensors)
        return self._of_size[key]


def _pad(tensor, count):
    if tensor.shape[0]:
        filler = tf.repeat(tensor[:1], count, axis=0)
    else:
        filler = tf.zeros([count, *tensor.shape[1:]], tensor.dtype)
    return tf.concat([tensor, filler], axis=0)
