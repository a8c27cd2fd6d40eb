"""Runs a function of rows over any number of rows: in chunks, padded to few sizes, a part on each core."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# The public API does not say whether a gradient tape may be watching.
from tensorflow.python.eager.record import could_possibly_record

from flowzoo import parts

# Less than this is not worth a call of its own on another core: so many rows (pixels of images), and rows
# times weights.
_LEAST_ROWS, _LEAST_WORK = 64, 2**20


class RowFunction:
    """A compiled function of tensors with the same number of rows.

    XLA compiles anew for each shape, and memory grows with the rows. So rows go through in chunks,
    and the last chunk is padded (with copies of its first row) to a power of two and cut again.

    XLA's programs for CPUs run small products and everything between them on one core. So the cores share a
    chunk (see `flowzoo.parts`).

    Inside of another trace the plain function is called: the caller's trace is what compiles.

    Args:
        function: Takes tensors ``[N, ...]``, returns a nest of tensors ``[N, ...]``; a row of the result
            depends on that row alone.
        chunk: Rows in a chunk, a power of two.
        jit_compile: Whether to compile with XLA.
        weights: How many numbers a row meets on its way, to know what it costs.
        places: How often it meets them: at each pixel of an image.
    """

    def __init__(self, function: Callable, chunk: int, jit_compile: bool, weights: int, places: int = 1):
        self._function = function
        self._jit_compile = jit_compile
        self._most_parts = parts.cores() if jit_compile else 1
        self._least_rows = -(-max(_LEAST_ROWS, _LEAST_WORK // max(weights, 1)) // places)
        self._of_size: dict[tuple, tuple[Callable, list]] = {}
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
            return self._call(tensors)
        padded = self._call([_pad(tensor, size - rows) for tensor in tensors])
        return tf.nest.map_structure(lambda tensor: tensor[:rows], padded)

    def _call(self, tensors):
        """The function of as many rows as it is compiled for.

        TensorFlow's look at what comes, and at who may ask for gradients, costs more than the work of a small
        flow; the program is called without it where nobody does.
        """
        compiled, weights = self._of_their_size(tensors)
        if could_possibly_record():
            return compiled(*tensors)
        return compiled.inference_fn.call_preflattened([*tensors, *weights])

    def _of_their_size(self, tensors):
        """The compiled function of tensors of these sizes and of nothing else, and the weights it reads."""
        key = tuple((tensor.dtype, *tensor.shape) for tensor in tensors)
        if key not in self._of_size:
            compiled = tf.function(
                lambda *tensors: self._function(*tensors), jit_compile=self._jit_compile, autograph=False
            )
            most = min(self._most_parts, tensors[0].shape[0] // self._least_rows)
            count = parts.up_to(most)  # A power of two, as the number of rows is.
            if count > 1:
                compiled = parts.side_by_side(compiled, count)
            specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
            concrete = compiled.get_concrete_function(*specs)
            self._of_size[key] = concrete, concrete.captured_inputs
        return self._of_size[key]


def _pad(tensor, count):
    if tensor.shape[0]:
        filler = tf.repeat(tensor[:1], count, axis=0)
    else:
        filler = tf.zeros([count, *tensor.shape[1:]], tensor.dtype)
    return tf.concat([tensor, filler], axis=0)
