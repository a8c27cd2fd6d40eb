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
        training: Whether the network drops units out, in its single pass only.
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
        training: bool = False,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._made, self._transformer, self._context = made, transformer, context
        self._weights = made.weights_now()
        self._conditions_on, self._method, self._training = conditions_on, inverse, training
        shape = (made.columns,)
        super().__init__(shape, shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._slow(z) if self._conditions_on == "data" else self._fast(z)

    def _inverse_and_log_det(self, x):
        return self._fast(x) if self._conditions_on == "data" else self._slow(x)

    def _fast(self, known):
        parameters = self._made(known, context=self._context, training=self._training)
        return self._map(tf.cast(parameters, self.dtype), known, towards_known=False)

    def _fast_pass(self, weights, known, context):
        """The single pass as a function of the weights."""
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


class _Sweep:
    """What both sweeps share: a MADE's kernels, and which of its units belong to column i.

    Units are ordered by degree. At step i a sweep takes a window of units that starts with those of degree
    i, of a width that is the same at all steps. Where the window is wider than the degree's units, the others
    in it are computed too early, or once more; masks keep them from being used until their own step has
    computed them right. So no padding is needed, and each slice is contiguous: everything is
    feature-major, ``[features, rows]``.
    """

    def __init__(self, owner: MaskedAutoregressive, weights: Weights, context):
        self.made, self.owner = owner._made, owner
        self.columns = self.made.columns
        self.kernels = [*weights.kernels[:-1], self._by_column(weights.kernels[-1])]
        self.biases = [*weights.biases[:-1], self._by_column(weights.biases[-1])]
        self.contexts, self.context = weights.context_kernels, context
        self.dtype = self.kernels[0].dtype
        hidden = [_window(degrees, self.columns) for degrees in self.made.degrees[1:-1]]
        column = np.arange(self.columns)
        # Start of the window at each step, and its width: of columns, hidden units and parameters.
        self.windows = [(column, 1), *hidden, (column * self.made.parameters, self.made.parameters)]

    def _by_column(self, outputs):
        """The last axis from one parameter after the other to one column after the other."""
        shape = outputs.shape[:-1].as_list()
        split = tf.reshape(outputs, [*shape, self.made.parameters, self.columns])
        return tf.reshape(tf.linalg.matrix_transpose(split), [*shape, -1])

    def start(self, stage, i):
        starts = self.windows[stage][0]
        # Arithmetic where it does: a look-up costs more than a small product under XLA.
        stride = starts[-1] // max(self.columns - 1, 1)
        if np.array_equal(starts, stride * np.arange(self.columns)):
            return i * int(stride)
        return tf.gather(tf.constant(starts, tf.int32), i)

    def read(self, tensor, stage, i):
        """The window of step i: rows of a tensor ``[features of the stage, ...]``."""
        return tf.slice(tensor, [self.start(stage, i), 0], [self.windows[stage][1], tensor.shape[1] or -1])

    def write(self, buffer, stage, i, window):
        """The buffer with the window of step i in it."""
        start = self.start(stage, i)
        if xla.is_compiling():
            # In place under XLA, where a scatter would be a loop of its own.
            from tensorflow.compiler.tf2xla.python import xla as ops

            return ops.dynamic_update_slice(buffer, window, tf.stack([start, tf.zeros_like(start)]))
        # A scatter would copy the buffer as well, and refuses one without rows.
        end = start + self.windows[stage][1]
        whole = tf.concat([buffer[:start], window, buffer[end:]], axis=0)
        return tf.ensure_shape(whole, buffer.shape)

    def buffer(self, stage, count):
        """Zeros ``[features of the stage, rows]``."""
        features = self.kernels[stage].shape[0] if stage < len(self.kernels) else self.kernels[-1].shape[1]
        return tf.zeros([features, count], self.dtype)


class _ForwardSweep(_Sweep):
    """Column after column: hidden units of degree i, parameters of column i, column i."""

    def solve(self, rows):
        count, products = tf.shape(rows)[0], len(self.kernels)
        transposed = [tf.transpose(kernel) for kernel in self.kernels]
        offsets = [self._offset(k) for k in range(products)]
        far = tf.transpose(rows)

        def body(i, log_det, known, *buffers):
            held = [tf.cast(known, self.dtype), *buffers]

            def product(k, h):
                if k > 0:
                    held[k] = self.write(held[k], k, i, h)
                y = tf.linalg.matmul(self.read(transposed[k], k + 1, i), held[k])
                return y + self.read(offsets[k], k + 1, i)

            parameters = tf.cast(self.made.network(product, None), self.owner.dtype)
            # [parameters, rows] to [rows, parameters, 1], the shape that the transformer takes.
            parameters = tf.transpose(parameters)[:, :, None]
            column = tf.transpose(self.read(far, 0, i))
            column, part = self.owner._map(parameters, column, towards_known=True)
            known = self.write(known, 0, i, tf.transpose(column))
            return i + 1, log_det + part, known, *held[1:]

        held = [self.buffer(stage, count) for stage in range(1, products)]
        start = (tf.constant(0), tf.zeros([count], rows.dtype), tf.zeros_like(far), *held)
        _, log_det, known, *_ = tf.while_loop(
            lambda i, *_: i < self.columns, body, start, maximum_iterations=self.columns
        )
        return tf.ensure_shape(tf.transpose(known), rows.shape), log_det

    def _offset(self, k):
        """Bias and the context's part of product k: ``[outputs, 1 or rows]``."""
        offset = self.biases[k][:, None]
        if self.contexts and k < len(self.kernels) - 1:
            context = tf.cast(self.context, self.dtype)
            offset += tf.linalg.matmul(self.contexts[k], context, transpose_a=True, transpose_b=True)
        return offset


class _ReverseSweep(_Sweep):
    """Solves ``J^T w = v`` for the Jacobian J of the fast pass, last column first.

    w of column i needs the gradient that reaches column i from later columns; units of degree above i
    carry it, and they are finished before column i is.
    """

    def __init__(self, owner, weights, context, known):
        super().__init__(owner, weights, context)
        slopes: list[tf.Tensor] = []

        def activate(h):
            with tf.GradientTape() as tape:
                tape.watch(h)
                y = self.made.activation(h)
            slopes.append(tf.transpose(tape.gradient(y, h)))
            return y

        parameters = tf.cast(self.made.full_pass(weights, known, context, activate), owner.dtype)
        with tf.GradientTape() as tape:
            tape.watch([known, parameters])
            far, _ = owner._map(parameters, known, towards_known=False)
        # The map is elementwise, so the gradient of the sum is the diagonal.
        by_known, by_parameters = tape.gradient(far, [known, parameters])
        self.by_known = tf.transpose(by_known)
        by_parameters = tf.transpose(by_parameters, [2, 1, 0])
        self.by_parameters = tf.reshape(
            by_parameters, [self.columns * self.made.parameters, tf.shape(known)[0]]
        )
        self.slopes = slopes

    def solve(self, v):
        count, products = tf.shape(v)[0], len(self.kernels)
        v_columns = tf.transpose(v)

        def body(i, result, *buffers):
            held = [None, *buffers]

            def product(k, h):
                """Takes the gradient of product k's outputs at step i, gives that of its inputs."""
                held[k + 1] = self.write(held[k + 1], k + 1, i, h)
                return tf.linalg.matmul(self.read(self.kernels[k], k, i), held[k + 1])

            from_later = tf.linalg.matmul(self.read(self.kernels[0], 0, i), held[1])
            w = self.read(v_columns, 0, i) - tf.cast(from_later, v.dtype)
            w /= self.read(self.by_known, 0, i)
            h = tf.cast(w * self.read(self.by_parameters, products, i), self.dtype)
            held[1] = self.write(held[1], 1, i, self._hidden_gradient(product, h, i))
            return i - 1, self.write(result, 0, i, w), *held[1:]

        held = [self.buffer(stage, count) for stage in range(1, products + 1)]
        start = (tf.constant(self.columns - 1), tf.zeros_like(v_columns), *held)
        _, result, *_ = tf.while_loop(lambda i, *_: i >= 0, body, start, maximum_iterations=self.columns)
        return tf.ensure_shape(tf.transpose(result), v.shape)

    def _hidden_gradient(self, product, h, i):
        """Back through the network at step i: from the parameters' gradient to the first product's."""

        def through(k, h):
            """Through product k and the activation before it."""
            return product(k, h) * self.read(self.slopes[k - 1], k, i)

        last = len(self.kernels) - 1
        h = through(last, h)
        if self.made.residual:
            for k in range(last - 1, 1, -2):
                h = h + through(k - 1, through(k, h))
            return h
        for k in range(last - 1, 0, -1):
            h = through(k, h)
        return h


def _window(degrees, columns):
    """Where the window of each step starts among units of ascending degree, and its width."""
    first = np.searchsorted(degrees, np.arange(columns), side="left")
    width = max(1, int((np.searchsorted(degrees, np.arange(columns), side="right") - first).max()))
    return np.minimum(first, len(degrees) - width), width


def _or_zero(gradient, like):
    return tf.zeros_like(like) if gradient is None else gradient
