"""ForwardSweep and ReverseSweep: solve a MADE column by column, at about the cost of one pass.

A hidden unit of degree d depends on the first d columns only. So at step i a sweep computes the units
of degree i, the parameters of column i, and column i: together, all steps make one pass of the network.
Reading the whole network at each step would cost more than computing its few units, so columns are processed
in blocks. The contribution of earlier blocks to a block's units is one large product; the steps inside a
block work on the block's own units, which stay in the cache.

All tensors are feature-major, ``[units, rows]``, so that windows of units are contiguous. A window has the
same width at each step and starts with the step's first unit. It may include units of other steps: these are
computed too early or again, and masks keep them from being used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from flowzoo.backend import xla
from flowzoo.conditioners.masked_network import MaskedNetwork, Weights


@dataclass(frozen=True, eq=False)
class _Stage:
    """The units between two products, in the order of the steps that compute them.

    Attributes:
        units: Number of units.
        shift: Step of the first unit.
        steps: Number of steps that the units are spread over, evenly.
        width: Width of the window of one step.
        windows: Indices of the units in each block's window, ``[blocks, units]``.
        own: Which of these units belong to the block.
    """

    units: int
    shift: int
    steps: int
    width: int
    windows: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, units, shift, steps, columns, block):
        """Computes the windows."""
        first = np.clip(_first(np.arange(columns + block), units, shift, steps), 0, units)
        begins = np.arange(0, columns, block)
        width = max(1, int((first[begins + block] - first[begins]).max()))
        windows = np.minimum(first[begins], units - width)[:, None] + np.arange(width)
        own = (windows >= first[begins, None]) & (windows < first[begins + block, None])
        return cls(units, shift, steps, max(1, int(np.diff(first[: columns + 1]).max())), windows, own)

    @property
    def block_width(self):
        """Width of the window of one block."""
        return self.windows.shape[1]

    def start(self, i):
        """Where the window of step i starts."""
        first = tf.clip_by_value(_first(i, self.units, self.shift, self.steps), 0, self.units)
        return tf.minimum(first, self.units - self.width)

    def block_start(self, b):
        """Where the window of block b starts."""
        return tf.gather(self.windows[:, 0].astype(np.int32), b)


def _first(i, units, shift, steps):
    return ((i - shift) * units + steps - 1) // steps


class _Sweep:
    """What both sweeps share: the kernels, where each step's units are, and reading and writing them."""

    def __init__(self, network: MaskedNetwork, weights: Weights):
        self.network, self.columns = network, network.columns
        self.kernels = [*weights.kernels[:-1], self._by_column(weights.kernels[-1])]
        self.dtype = self.kernels[0].dtype
        # Larger blocks mean fewer large products but more units per step; the square root balances both.
        self.block = self.columns if self.columns <= 8 else math.ceil(math.sqrt(self.columns))
        self.blocks = -(-self.columns // self.block)
        hidden = [
            _Stage.of(len(d), network.lowest, network.steps, *self._sizes) for d in network.degrees[1:-1]
        ]
        columns = _Stage.of(self.columns, 0, self.columns, *self._sizes)
        parameters = _Stage.of(self.columns * network.parameters, 0, self.columns, *self._sizes)
        self.stages = [columns, *hidden, parameters]
        degrees = [*network.degrees[:-1], np.repeat(np.arange(network.columns), network.parameters)]
        self._seen = [_seen(*each) for each in itertools.pairwise(zip(self.stages, degrees, strict=True))]

    @property
    def _sizes(self):
        return self.columns, self.block

    def _by_column(self, outputs):
        """Reorders the last axis from parameter-major to column-major."""
        shape = outputs.shape[:-1].as_list()
        split = tf.reshape(outputs, [*shape, self.network.parameters, self.columns])
        return tf.reshape(tf.linalg.matrix_transpose(split), [*shape, -1])

    def zeros(self, stage, count):
        """``[units, rows]``."""
        return tf.zeros([self.stages[stage].units, count], self.dtype)

    def block_zeros(self, stage, count):
        """``[units of a block, rows]``."""
        return tf.zeros([self.stages[stage].block_width, count], self.dtype)

    def own(self, stage, b):
        """Which units of its window belong to block b: ``[units, 1]``."""
        return tf.gather(tf.constant(self.stages[stage].own, self.dtype), b)[:, None]

    def own_kernel(self, k, b):
        """The masked kernel between units of block b.

        Contributions of other blocks need no mask: units see all units of earlier blocks.
        """
        of, to = self.stages[k], self.stages[k + 1]
        start = [of.block_start(b), to.block_start(b)]
        kernel = tf.slice(self.kernels[k], start, [of.block_width, to.block_width])
        return kernel * tf.gather(tf.constant(self._seen[k], self.dtype), b)

    def local(self, stage, b, i):
        """Where the window of step i starts within the window of block b."""
        stage = self.stages[stage]
        return tf.minimum(stage.start(i) - stage.block_start(b), stage.block_width - stage.width)

    def add(self, buffer, stage, b, values):
        """Adds to the window of a block."""
        start = self.stages[stage].block_start(b)
        return write(buffer, start, read(buffer, start, self.stages[stage].block_width) + values)


def _seen(of, to):
    """Which units of a stage the units of the next one see in each block: ``[blocks, units, units]``."""
    (of, before), (to, after) = of, to
    seen = before[of.windows][:, :, None] <= after[to.windows][:, None, :]
    return seen & of.own[:, :, None] & to.own[:, None, :]


def read(tensor, start, size):
    """``tensor[start : start + size]``."""
    return tf.slice(tensor, [start, 0], [size, tensor.shape[1] or -1])


def write(buffer, start, window):
    """The buffer with its rows from `start` on replaced by the window."""
    if xla.is_compiling():
        # XLA updates in place here; a scatter would be a separate loop.
        from tensorflow.compiler.tf2xla.python import xla as ops

        return ops.dynamic_update_slice(buffer, window, tf.stack([start, tf.zeros_like(start)]))
    # A scatter would copy the buffer too, and fails for a buffer without rows.
    whole = tf.concat([buffer[:start], window, buffer[start + window.shape[0] :]], axis=0)
    return tf.ensure_shape(whole, buffer.shape)


class ForwardSweep(_Sweep):
    """Computes, for one column i after the other, hidden units of degree i, its parameters, and the column.

    Args:
        network: Structure of the MADE.
        weights: Its weights.
        context: ``[rows, size]`` or None.
        map_column: ``map_column(parameters [rows, parameters, 1], column [rows, 1])`` gives the known
            column and its log-det ``[rows]``.
    """

    def __init__(self, network: MaskedNetwork, weights: Weights, context, map_column: Callable):
        super().__init__(network, weights)
        self._map_column = map_column
        biases = [*weights.biases[:-1], self._by_column(weights.biases[-1])]
        self._offsets = [bias[:, None] for bias in biases]
        for k, kernel in enumerate(weights.context_kernels):
            given = tf.cast(context, self.dtype)
            self._offsets[k] += tf.linalg.matmul(kernel, given, transpose_a=True, transpose_b=True)

    def solve(self, rows):
        """Maps ``[rows, columns]`` from the far to the known side; also returns the log-det ``[rows]``."""
        count = tf.shape(rows)[0]
        far = tf.transpose(rows)
        log_det = tf.zeros([count], rows.dtype)
        finished = [tf.zeros_like(far), *[self.zeros(k, count) for k in range(1, len(self.kernels))]]
        if self.blocks == 1:
            log_det, known, *_ = self._block(0, far, count, log_det, finished)
        else:
            _, log_det, known, *_ = tf.while_loop(
                lambda b, *_: b < self.blocks,
                lambda b, log_det, *held: (b + 1, *self._block(b, far, count, log_det, held)),
                (tf.constant(0), log_det, *finished),
                maximum_iterations=self.blocks,
            )
        return tf.ensure_shape(tf.transpose(known), rows.shape), log_det

    def _block(self, b, far, count, log_det, finished):
        """Processes one block of columns; returns the new log-det and finished units."""
        begin = b * self.block
        own = [self.own(k, b) for k in range(len(self.kernels))]
        bases = [self._base(k, b, finished[k]) for k in range(len(self.kernels))]
        kernels = [tf.transpose(self.own_kernel(k, b)) for k in range(len(self.kernels))]

        def step(i, log_det, known, *hidden):
            units = [tf.cast(known, self.dtype), *hidden]

            def product(k, h):
                if k > 0:
                    units[k] = write(units[k], self.local(k, b, i), h)
                start, width = self.local(k + 1, b, i), self.stages[k + 1].width
                return tf.linalg.matmul(read(kernels[k], start, width), units[k]) + read(
                    bases[k], start, width
                )

            parameters = tf.cast(self.network.apply(product, None), far.dtype)
            # [parameters, rows] to [rows, parameters, 1].
            parameters = tf.transpose(parameters)[:, :, None]
            column, part = self._map_column(parameters, tf.transpose(read(far, i, 1)))
            known = write(known, self.local(0, b, i), tf.transpose(column))
            return i + 1, log_det + part, known, *units[1:]

        known = tf.zeros([self.stages[0].block_width, count], far.dtype)
        hidden = [self.block_zeros(k, count) for k in range(1, len(self.kernels))]
        _, log_det, *units = tf.while_loop(
            lambda i, *_: i < tf.minimum(begin + self.block, self.columns),
            step,
            (tf.convert_to_tensor(begin), log_det, known, *hidden),
            maximum_iterations=self.block,
        )
        if self.blocks == 1:
            return log_det, *units
        return log_det, *[
            self.add(finished[k], k, b, tf.cast(own[k], units[k].dtype) * units[k]) for k in range(len(units))
        ]

    def _base(self, k, b, finished):
        """Contribution of bias, context and earlier blocks to the block's units."""
        start, width = self.stages[k + 1].block_start(b), self.stages[k + 1].block_width
        offset = read(self._offsets[k], start, width)
        if self.blocks == 1:
            return offset + tf.zeros_like(finished[:1], self.dtype)
        kernel = tf.slice(self.kernels[k], [0, start], [self.stages[k].units, width])
        return tf.linalg.matmul(kernel, tf.cast(finished, self.dtype), transpose_a=True) + offset


class ReverseSweep(_Sweep):
    """Solves ``J^T w = v`` for the triangular Jacobian J of the fast pass, last column first.

    w of column i needs the gradient that reaches column i from later columns. Units of degree above i
    carry it, and they are finished before column i.

    Args:
        network: Structure of the MADE.
        weights: Its weights.
        by_known: Derivative of each far column by its known column, ``[columns, rows]``.
        by_parameters: Derivative of each far column by its parameters, ``[columns * parameters, rows]``.
        slopes: Derivative of the activation before each product but the first, ``[units, rows]``.
    """

    def __init__(self, network: MaskedNetwork, weights: Weights, by_known, by_parameters, slopes):
        super().__init__(network, weights)
        self._by_known, self._by_parameters, self._slopes = by_known, by_parameters, slopes

    def solve(self, v):
        """Returns w for v ``[rows, columns]``."""
        count, products = tf.shape(v)[0], len(self.kernels)
        columns = tf.transpose(v)
        finished = [tf.zeros_like(columns), *[self.zeros(k, count) for k in range(1, products + 1)]]
        if self.blocks == 1:
            w, *_ = self._block(0, columns, count, finished)
        else:
            _, w, *_ = tf.while_loop(
                lambda b, *_: b >= 0,
                lambda b, *held: (b - 1, *self._block(b, columns, count, held)),
                (tf.constant(self.blocks - 1), *finished),
                maximum_iterations=self.blocks,
            )
        return tf.ensure_shape(tf.transpose(w), v.shape)

    def _block(self, b, v, count, finished):
        """Processes one block of columns; returns the new w and gradients of the finished units."""
        begin, products = b * self.block, len(self.kernels)
        own = [self.own(k, b) for k in range(products + 1)]
        bases = [self._base(k, b, finished[k + 1]) for k in range(products)]
        kernels = [self.own_kernel(k, b) for k in range(products)]

        def back(k, i, gradient):
            """Maps the gradient of product k's outputs to that of the inputs of step i."""
            start, width = self.local(k, b, i), self.stages[k].width
            return tf.linalg.matmul(read(kernels[k], start, width), gradient) + read(bases[k], start, width)

        def step(i, w, *of_later):
            gradients = [None, *of_later]

            def product(k, h):
                gradients[k + 1] = write(gradients[k + 1], self.local(k + 1, b, i), h)
                return back(k, i, gradients[k + 1])

            from_later = tf.cast(back(0, i, gradients[1]), v.dtype)
            column = (read(v, i, 1) - from_later) / read(self._by_known, i, 1)
            parameters = self.stages[products]
            h = tf.cast(column * read(self._by_parameters, parameters.start(i), parameters.width), self.dtype)
            h = self._through_network(product, h, b, i)
            gradients[1] = write(gradients[1], self.local(1, b, i), h)
            return i - 1, write(w, self.local(0, b, i), column), *gradients[1:]

        w = tf.zeros([self.stages[0].block_width, count], v.dtype)
        units = [self.block_zeros(k, count) for k in range(1, products + 1)]
        _, *units = tf.while_loop(
            lambda i, *_: i >= begin,
            step,
            (tf.minimum(begin + self.block, self.columns) - 1, w, *units),
            maximum_iterations=self.block,
        )
        if self.blocks == 1:
            return units
        return [
            self.add(finished[k], k, b, tf.cast(own[k], units[k].dtype) * units[k])
            for k in range(products + 1)
        ]

    def _through_network(self, product, h, b, i):
        """Back through the network at step i: from the parameters' gradient to the first product's."""

        def through(k, h):
            """Through product k and the activation before it."""
            stage = self.stages[k]
            start = stage.block_start(b) + self.local(k, b, i)
            return product(k, h) * read(self._slopes[k - 1], start, stage.width)

        last = len(self.kernels) - 1
        h = through(last, h)
        if self.network.residual:
            for k in range(last - 1, 1, -2):
                h = h + through(k - 1, through(k, h))
            return h
        for k in range(last - 1, 0, -1):
            h = through(k, h)
        return h

    def _base(self, k, b, finished):
        """Gradient that reaches the block's units from later blocks."""
        start, width = self.stages[k].block_start(b), self.stages[k].block_width
        if self.blocks == 1:
            return tf.zeros([width, 1], self.dtype) + tf.zeros_like(finished[:1])
        return tf.linalg.matmul(read(self.kernels[k], start, width), finished)
