"""RowFunction: a function of rows, run in chunks of a few fixed sizes, sharded over the cores."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# The public API does not say whether a gradient tape may be watching.
from tensorflow.python.eager.record import could_possibly_record

from flowzoo.backend import sharding
from flowzoo.utils.sizes import power_of_two_ceiling, power_of_two_floor

# Below these sizes a shard is not worth a call on another core: rows (or pixels of images), and rows times
# weights.
_LEAST_ROWS, _LEAST_WORK = 64, 2**20


class RowFunction:
    """A compiled function of tensors with the same number of rows.

    XLA compiles once for each shape, and memory grows with the number of rows. So rows go through in chunks,
    and the last chunk is padded with copies of its first row to a power of two; the result is cut to size.

    XLA's programs for a CPU run small products, and everything between them, on one core. So the cores share
    a chunk (see `flowzoo.backend.sharding`).

    Inside another trace the plain function is called: the caller's trace is what compiles.

    Args:
        function: Takes tensors ``[N, ...]`` and returns a nest of tensors ``[N, ...]``; each row of the
            result depends on that row alone.
        chunk: Rows in a chunk, a power of two.
        jit_compile: Whether to compile with XLA.
        weights: Number of weights that a row is multiplied with, to estimate its cost.
        places: How often it is: once for each pixel of an image.
    """

    def __init__(self, function: Callable, chunk: int, jit_compile: bool, weights: int, places: int = 1):
        self._function = function
        self._jit_compile = jit_compile
        self._most_shards = sharding.cores() if jit_compile else 1
        self._least_rows = -(-max(_LEAST_ROWS, _LEAST_WORK // max(weights, 1)) // places)
        self._programs: dict[tuple, tuple[Callable, list]] = {}
        self._chunk = chunk

    def __call__(self, *tensors):
        """The function's result for the given rows."""
        if not tf.executing_eagerly():
            return self._function(*tensors)
        rows = int(tensors[0].shape[0])
        if rows <= self._chunk:
            return self._run(tensors)
        results = [
            self._run([tensor[start : start + self._chunk] for tensor in tensors])
            for start in range(0, rows, self._chunk)
        ]
        return tf.nest.map_structure(lambda *chunks: tf.concat(chunks, axis=0), *results)

    def _run(self, tensors):
        rows = int(tensors[0].shape[0])
        size = power_of_two_ceiling(rows)
        if rows == size:
            return self._call(tensors)
        padded = self._call([_pad(tensor, size - rows) for tensor in tensors])
        return tf.nest.map_structure(lambda tensor: tensor[:rows], padded)

    def _call(self, tensors):
        """Calls the program for this number of rows.

        TensorFlow's own dispatch, which looks at the arguments and at who may ask for gradients, costs more
        than the work of a small flow; without a tape the program is called directly.
        """
        program, weights = self._program(tensors)
        if could_possibly_record():
            return program(*tensors)
        return program.inference_fn.call_preflattened([*tensors, *weights])

    def _program(self, tensors):
        """The compiled function for tensors of these shapes, and the weights it reads."""
        key = tuple((tensor.dtype, *tensor.shape) for tensor in tensors)
        if key not in self._programs:
            compiled = tf.function(
                lambda *tensors: self._function(*tensors), jit_compile=self._jit_compile, autograph=False
            )
            most = min(self._most_shards, tensors[0].shape[0] // self._least_rows)
            count = power_of_two_floor(most)  # It divides the rows, whose number is a power of two.
            if count > 1:
                compiled = sharding.in_shards(compiled, count)
            specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
            concrete = compiled.get_concrete_function(*specs)
            self._programs[key] = concrete, concrete.captured_inputs
        return self._programs[key]


def _pad(tensor, count):
    if tensor.shape[0]:
        filler = tf.repeat(tensor[:1], count, axis=0)
    else:
        filler = tf.zeros([count, *tensor.shape[1:]], tensor.dtype)
    return tf.concat([tensor, filler], axis=0)
