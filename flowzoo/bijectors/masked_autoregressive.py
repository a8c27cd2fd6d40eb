"""MaskedAutoregressive: MAF and IAF, with an inverse at the cost of about one network pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flowzoo import xla
from flowzoo.bijectors.base import FusedBijector
from flowzoo.conditioners.made import MADE, Weights

INVERSES = ("incremental", "jacobi", "sequential")

Transformer = Callable[[tf.Tensor, tuple], FusedBijector]


class MaskedAutoregressive(FusedBijector):
    """Column i is mapped by what a MADE says of the columns before i.

    One direction is a single pass of the network: data to latents for a masked autoregressive flow
    (Papamakarios et al. 2017, equation 3), latents to data for an inverse autoregressive flow (Kingma et al.
    2016, equation 10). The other needs column i-1 before column i. Instead of D passes of the whole network,
    ``"incremental"`` computes at step i the hidden units of degree i only, then the parameters of column i:
    together about one pass. Its gradient is the implicit function theorem's, one sweep the other way round.

    Args:
        made: The conditioner, built for ``(D,)`` to ``(D, parameters)``.
        transformer: ``transformer(parameters [..., P, D], (D,))`` is the elementwise bijector of D columns.
        context: ``[N, size]`` or None.
        conditions_on: "data" (MAF) or "latent" (IAF): on which side the network looks.
        inverse: How the slow direction runs: "incremental"; "jacobi", which sweeps all columns until
            nothing moves (fast for weak couplings; a row stops on its own, so that neighbours do not
            matter); "sequential", D passes.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(
        self,
        made: MADE,
        transformer: Transformer,
        context: tf.Tensor | None = None,
        *,
        conditions_on: str = "data",
        inverse: str = "incremental",
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._made, self._transformer, self._context = made, transformer, context
        self._weights = made.weights_now()
        self._conditions_on, self._method = conditions_on, inverse
        shape = (made.columns,)
        super().__init__(shape, shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._slow(z) if self._conditions_on == "data" else self._fast(z)

    def _inverse_and_log_det(self, x):
        return self._fast(x) if self._conditions_on == "data" else self._slow(x)

    def _fast(self, known):
        return self._fast_pass(self._weights, known, self._context)

    def _fast_pass(self, weights, known, context):
        parameters = tf.cast(self._made.full_pass(weights, known, context), self.dtype)
        return self._map(parameters, known, towards_known=False)

    def _map(self, parameters, values, towards_known):
        """Maps the columns of `values` with their parameters; `values` may be a slice of the columns."""
        bijector = self._transformer(parameters, (values.shape[-1],))
        if towards_known == (self._conditions_on == "data"):
            return bijector.forward_and_log_det(values)
        return bijector.inverse_and_log_det(values)

    # -- the slow direction ----------------------------------------------------------------
    def _slow(self, values):
        """From ``[..., D]`` on the far side to the side that the network looks at, with its log-det."""
        batch = tf.shape(values)[:-1]
        rows = tf.reshape(values, [-1, self._made.columns])
        tensors = self._weights.flat()
        if self._context is not None:
            context = tf.broadcast_to(self._context, tf.concat([batch, self._context.shape[-1:]], axis=0))
            tensors = [tf.reshape(context, [-1, self._context.shape[-1]]), *tensors]
        known, log_det = self._solve_with_gradient(rows, *tensors)
        known = tf.reshape(known, tf.shape(values))
        return tf.ensure_shape(known, values.shape), tf.reshape(log_det, batch)

    def _solve_with_gradient(self, rows, *tensors):
        """`_solve` with the gradient of the implicit function theorem.

        With ``rows = G(known; weights)`` the fast pass, ``known`` moves by ``J^-1 (d rows - dG)``, J being
        the triangular Jacobian of G. One reverse sweep solves ``w = J^-T v`` for the incoming gradient v;
        then w belongs to the rows, and -w goes through one ordinary gradient of the fast pass.
        """

        @tf.custom_gradient
        def solve(rows, *tensors):
            context, weights = self._unpack(tensors)
            known, log_det = self._solve(weights, rows, context)

            def gradient(d_known, d_log_det):
                with tf.GradientTape(persistent=True) as tape:
                    tape.watch([known, *tensors])
                    far, far_log_det = self._fast_pass(weights_of(tensors), known, context_of(tensors))
                d_known_all = d_known - _or_zero(
                    tape.gradient(far_log_det, known, output_gradients=d_log_det), known
                )
                w = _ReverseSweep(self, weights, context, known).solve(d_known_all)
                d_tensors = tape.gradient(
                    [far, far_log_det], list(tensors), output_gradients=[-w, -d_log_det]
                )
                return w, *[_or_zero(d, tensor) for d, tensor in zip(d_tensors, tensors, strict=True)]

            return (known, log_det), gradient

        def weights_of(tensors):
            return self._unpack(tensors)[1]

        def context_of(tensors):
            return self._unpack(tensors)[0]

        return solve(rows, *tensors)

    def _unpack(self, tensors):
        context, tensors = (None, tensors) if self._context is None else (tensors[0], tensors[1:])
        return context, Weights.unflatten(list(tensors), len(self._made.masks))

    def _solve(self, weights, rows, context):
        if self._method == "incremental":
            return _ForwardSweep(self, weights, context).solve(rows)
        return self._sweeps(weights, rows, context, stop_early=self._method == "jacobi")

    def _sweeps(self, weights, rows, context, stop_early):
        """At most D passes: after pass i the first i columns are right."""

        def body(i, known, log_det, active):
            parameters = tf.cast(self._made.full_pass(weights, known, context), self.dtype)
            new, new_log_det = self._map(parameters, rows, towards_known=True)
            moved = tf.reduce_any(tf.not_equal(new, known), axis=-1)
            # A row that has settled stays as it is: its value must not depend on its neighbours.
            keep = active[:, None] if stop_early else tf.ones_like(active)[:, None]
            known = tf.where(keep, new, known)
            log_det = tf.where(keep[:, 0], new_log_det, log_det)
            return i + 1, known, log_det, active & moved

        def cond(i, known, log_det, active):
            more = i < self._made.columns
            return more & tf.reduce_any(active) if stop_early else more

        start = (
            tf.constant(0),
            tf.zeros_like(rows),
            tf.zeros_like(rows[:, 0]),
            tf.ones_like(rows[:, 0], bool),
        )
        invariants = (tf.TensorShape([]), rows.shape, rows.shape[:1], rows.shape[:1])
        _, known, log_det, _ = tf.while_loop(
            cond, body, start, invariants, maximum_iterations=self._made.columns
        )
        return known, log_det


class _Groups:
    """A MADE's kernels cut into one group for each column, padded to equal widths.

    Group i of a hidden layer holds its units of degree i, group i of the input is column i, group i of
    the output the parameters of column i. Everything is feature-major, ``[features, rows]``, so that one
    group is one contiguous block.
    """

    def __init__(self, owner: MaskedAutoregressive, weights: Weights, context):
        self.made, self.owner = owner._made, owner
        self.columns = self.made.columns
        self.weights = weights
        degrees = [np.arange(self.columns), *self.made.degrees[1:]]
        self.index = [_padded_index(degree, self.columns) for degree in degrees]
        self.widths = [len(index) // self.columns for index in self.index]
        self.kernels = [
            _gather_padded(_gather_padded(kernel, before, axis=0), after, axis=1)
            for kernel, before, after in zip(weights.kernels, self.index[:-1], self.index[1:], strict=True)
        ]
        self.offsets = [self._offset(i, context) for i in range(len(weights.biases))]

    def _offset(self, i, context):
        """Bias and context's part of product i: ``[columns, width, 1 or rows]``."""
        offset = self.weights.biases[i][:, None]
        if self.weights.context_kernels and i < len(self.weights.biases) - 1:
            kernel = self.weights.context_kernels[i]
            offset += tf.linalg.matmul(
                kernel, tf.cast(context, kernel.dtype), transpose_a=True, transpose_b=True
            )
        offset = _gather_padded(offset, self.index[i + 1], axis=0)
        return tf.reshape(offset, [self.columns, self.widths[i + 1], -1])

    def buffers(self, stages, rows, dtype):
        """Zeros ``[columns * width, rows]`` for each stage."""
        return [tf.zeros([self.columns * self.widths[stage], rows], dtype) for stage in stages]


class _ForwardSweep(_Groups):
    """Solves column after column: hidden units of degree i, parameters of column i, column i."""

    def solve(self, rows):
        products = len(self.kernels)
        dtype = self.weights.kernels[0].dtype
        count = tf.shape(rows)[0]
        # Group i of product k's outputs needs all of its inputs: [columns, width out, inputs].
        slices = [
            tf.transpose(tf.reshape(kernel, [kernel.shape[0], self.columns, -1]), [1, 2, 0])
            for kernel in self.kernels
        ]
        far = tf.transpose(rows)[:, None, :]

        def body(i, log_det, result, *held):
            held = list(held)

            def product(k, h):
                if k == 0:
                    return tf.linalg.matmul(slices[0][i], tf.cast(result, dtype)) + self.offsets[0][i]
                held[k - 1] = _write(held[k - 1], i, h)
                return tf.linalg.matmul(slices[k][i], held[k - 1]) + self.offsets[k][i]

            parameters = tf.cast(self.made.network(product, None), self.owner.dtype)
            # [parameters, rows] to [rows, parameters, 1], the shape that the transformer takes.
            parameters = tf.transpose(parameters)[:, :, None]
            column, part = self.owner._map(parameters, tf.transpose(far[i]), towards_known=True)
            column = tf.transpose(column)
            return i + 1, log_det + part, _write(result, i, column), *held

        result = tf.zeros([self.columns, count], rows.dtype)
        held = self.buffers(range(1, products), count, dtype)
        start = (tf.constant(0), tf.zeros([count], rows.dtype), result, *held)
        _, log_det, result, *_ = tf.while_loop(
            lambda i, *_: i < self.columns,
            body,
            start,
            maximum_iterations=self.columns,
        )
        return tf.ensure_shape(tf.transpose(result), rows.shape), log_det


class _ReverseSweep(_Groups):
    """Solves ``J^T w = v`` for the Jacobian J of the fast pass, last column first.

    w of column i needs the gradient that reaches column i from later columns; units of degree above i
    carry it, and they are finished before column i is.
    """

    def __init__(self, owner, weights, context, known):
        super().__init__(owner, weights, context)
        self.slopes = []
        with tf.GradientTape() as tape:
            parameters = tf.cast(self.made.full_pass(weights, known, context, self._recording), owner.dtype)
            tape.watch([known, parameters])
            far, _ = owner._map(parameters, known, towards_known=False)
        # The map is elementwise, so the gradient of the sum is the diagonal.
        by_known, by_parameters = tape.gradient(far, [known, parameters])
        self.by_known = tf.transpose(by_known)[:, None, :]
        self.by_parameters = tf.transpose(by_parameters, [2, 1, 0])
        self.slopes = [
            tf.reshape(
                _gather_padded(tf.transpose(slope), self.index[stage + 1], axis=0),
                [self.columns, self.widths[stage + 1], -1],
            )
            for stage, slope in enumerate(self.slopes)
        ]

    def _recording(self, h):
        """The activation, with its derivative noted."""
        with tf.GradientTape() as tape:
            tape.watch(h)
            y = self.made.activation(h)
        self.slopes.append(tape.gradient(y, h))
        return y

    def solve(self, v):
        dtype = self.weights.kernels[0].dtype
        count = tf.shape(v)[0]
        # Group i of product k's inputs needs all of its outputs: [columns, width in, outputs].
        slices = [tf.reshape(kernel, [self.columns, -1, kernel.shape[1]]) for kernel in self.kernels]
        v_columns = tf.transpose(v)[:, None, :]

        def body(i, result, *held):
            held = list(held)

            def transposed(k, h, group):
                """Writes group i of product k's output gradient, reads a group of its input gradient."""
                held[k] = _write(held[k], i, h) if h is not None else held[k]
                return tf.linalg.matmul(slices[k][group], held[k])

            from_later = tf.cast(transposed(0, None, i), v.dtype)
            w = (v_columns[i] - from_later) / self.by_known[i]
            result = _write(result, i, w)
            h = tf.cast(w * self.by_parameters[i], dtype)
            held[0] = _write(held[0], i, self._hidden_gradient(transposed, h, i))
            return i - 1, result, *held

        result = tf.zeros([self.columns, count], v.dtype)
        held = self.buffers(range(1, len(self.kernels) + 1), count, dtype)
        _, result, *_ = tf.while_loop(
            lambda i, *_: i >= 0,
            body,
            (tf.constant(self.columns - 1), result, *held),
            maximum_iterations=self.columns,
        )
        return tf.ensure_shape(tf.transpose(result), v.shape)

    def _hidden_gradient(self, transposed, h, i):
        """Back through the network, group i: from the parameters' gradient to the first product's."""
        last = len(self.kernels) - 1
        h = transposed(last, h, i) * self.slopes[last - 1][i]
        if self.made.residual:
            for k in range(last - 1, 1, -2):
                inner = transposed(k, h, i) * self.slopes[k - 1][i]
                h = h + transposed(k - 1, inner, i) * self.slopes[k - 2][i]
            return h
        for k in range(last - 1, 0, -1):
            h = transposed(k, h, i) * self.slopes[k - 1][i]
        return h


def _padded_index(degrees, columns):
    """Where each unit goes: group by degree, each padded with -1 (nothing) to the widest.

    Degrees need not ascend: output rows come parameter by parameter.
    """
    groups = [np.flatnonzero(degrees == degree) for degree in range(columns)]
    width = max(1, *(len(group) for group in groups)) if columns > 1 else max(1, len(groups[0]))
    index = np.full((columns, width), -1, np.int32)
    for degree, group in enumerate(groups):
        index[degree, : len(group)] = group
    return index.ravel()


def _gather_padded(tensor, index, axis):
    """Rows (or columns) by index; -1 gives zeros."""
    if np.array_equal(index, np.arange(tensor.shape[axis])):
        return tensor
    paddings = [[0, 1] if axis == a else [0, 0] for a in range(tensor.shape.rank)]
    return tf.gather(tf.pad(tensor, paddings), np.where(index < 0, tensor.shape[axis], index), axis=axis)


def _write(buffer, i, group):
    """Group i of a buffer ``[groups * width, rows]`` becomes `group` ``[width, rows]``."""
    width = group.shape[0]
    if xla.is_compiling():
        # In place under XLA, where a scatter would be a loop of its own.
        from tensorflow.compiler.tf2xla.python import xla as ops

        return ops.dynamic_update_slice(buffer, group, tf.stack([i * width, tf.zeros_like(i)]))
    return tf.tensor_scatter_nd_update(buffer, (i * width + tf.range(width))[:, None], group)


def _or_zero(gradient, like):
    return tf.zeros_like(like) if gradient is None else gradient
