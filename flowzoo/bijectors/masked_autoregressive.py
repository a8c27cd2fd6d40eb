"""MaskedAutoregressive: MAF and IAF, with an inverse at the cost of about one network pass."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector
from flowzoo.conditioners.stepwise import StepwiseConditioner

INVERSES = ("incremental", "jacobi", "sequential")

Transformer = Callable[[tf.Tensor, tuple], FusedBijector]


class MaskedAutoregressive(FusedBijector):
    """Maps column i with parameters that a conditioner computes from the columns before i.

    One direction is a single pass of the network: data to latents for a masked autoregressive flow
    (Papamakarios et al. 2017, equation 3), latents to data for an inverse autoregressive flow (Kingma et al.
    2016, equation 10). The other direction needs column i-1 before column i. Instead of D passes of the whole
    network, ``"incremental"`` lets the conditioner share work between columns: a MADE takes about one pass
    in all (ADR 4). The gradient uses the implicit function theorem: one sweep in the opposite order.

    Args:
        conditioner: A conditioner built for ``(D,)`` to ``(D, parameters)``.
        transformer: ``transformer(parameters [..., P, D], (D,))`` is the elementwise bijector of D columns.
        context: ``[N, size]`` or None.
        conditions_on: "data" (MAF) or "latent" (IAF): the side that the network sees.
        inverse: Method of the slow direction: "incremental"; "jacobi", which updates all columns until
            none changes (fast for weak couplings; each row stops by itself, so that it does not depend on
            other rows); or "sequential", D passes.
        training: Whether to apply dropout, which acts in the single pass only.
        dtype: Floating dtype.
        name: Name shown in error messages.
    """

    def __init__(
        self,
        conditioner: StepwiseConditioner,
        transformer: Transformer,
        context: tf.Tensor | None = None,
        *,
        conditions_on: str = "data",
        inverse: str = "incremental",
        training: bool = False,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._conditioner, self._transformer, self._context = conditioner, transformer, context
        self._weights = conditioner.weights_now()
        self._conditions_on, self._method, self._training = conditions_on, inverse, training
        shape = (conditioner.columns,)
        super().__init__(shape, shape, dtype=dtype, name=name)

    def _forward_and_log_det(self, z):
        return self._slow(z) if self._conditions_on == "data" else self._fast(z)

    def _inverse_and_log_det(self, x):
        return self._fast(x) if self._conditions_on == "data" else self._slow(x)

    def _fast(self, known):
        parameters = self._conditioner(known, context=self._context, training=self._training)
        return self._map(tf.cast(parameters, self.dtype), known, towards_known=False)

    def _fast_pass(self, weights, known, context):
        """The single pass as a function of the weights."""
        parameters = tf.cast(self._conditioner.full_pass(weights, known, context), self.dtype)
        return self._map(parameters, known, towards_known=False)

    def _map(self, parameters, values, towards_known):
        """Maps columns with their parameters; `values` may be a slice of the columns."""
        bijector = self._transformer(parameters, (values.shape[-1],))
        if towards_known == (self._conditions_on == "data"):
            return bijector.forward_and_log_det(values)
        return bijector.inverse_and_log_det(values)

    def _to_known(self, parameters, far):
        return self._map(parameters, far, towards_known=True)

    def _to_far(self, parameters, known):
        return self._map(parameters, known, towards_known=False)[0]

    # -- the slow direction ----------------------------------------------------------------
    def _slow(self, values):
        """Maps ``[..., D]`` on the far side to the side that the network sees; also returns the log-det."""
        batch = tf.shape(values)[:-1]
        rows = tf.reshape(values, [-1, self._conditioner.columns])
        tensors = self._weights
        if self._context is not None:
            context = tf.broadcast_to(self._context, tf.concat([batch, self._context.shape[-1:]], axis=0))
            tensors = [tf.reshape(context, [-1, self._context.shape[-1]]), *tensors]
        known, log_det = self._solve_with_gradient(rows, *tensors)
        known = tf.reshape(known, tf.shape(values))
        return tf.ensure_shape(known, values.shape), tf.reshape(log_det, batch)

    def _solve_with_gradient(self, rows, *tensors):
        """`_solve` with the gradient of the implicit function theorem.

        Let ``rows = G(known; weights)`` be the fast pass and J its triangular Jacobian by `known`; then
        ``d known = J^-1 (d rows - dG)``. One reverse sweep solves ``w = J^-T v`` for the incoming gradient v.
        The gradient of the rows is w; that of the weights is the ordinary gradient of the fast pass for the
        incoming gradient -w.
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
                w = self._conditioner.solve_transposed(weights, context, known, self._to_far, d_known_all)
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
        return (None, list(tensors)) if self._context is None else (tensors[0], list(tensors[1:]))

    def _solve(self, weights, rows, context):
        if self._method == "incremental":
            return self._conditioner.solve(weights, context, rows, self._to_known)
        if self._method == "sequential":
            return StepwiseConditioner.solve(self._conditioner, weights, context, rows, self._to_known)
        return self._jacobi(weights, rows, context)

    def _jacobi(self, weights, rows, context):
        """Runs at most D passes, until nothing changes; after pass i the first i columns are correct."""
        columns = self._conditioner.columns

        def body(i, known, log_det, active):
            parameters = tf.cast(self._conditioner.full_pass(weights, known, context), self.dtype)
            new, new_log_det = self._to_known(parameters, rows)
            changed = tf.reduce_any(tf.not_equal(new, known), axis=-1)
            # A converged row stays as it is: its value must not depend on other rows.
            known = tf.where(active[:, None], new, known)
            log_det = tf.where(active, new_log_det, log_det)
            return i + 1, known, log_det, active & changed

        start = (
            tf.constant(0),
            tf.zeros_like(rows),
            tf.zeros_like(rows[:, 0]),
            tf.ones_like(rows[:, 0], bool),
        )
        invariants = (tf.TensorShape([]), rows.shape, rows.shape[:1], rows.shape[:1])
        _, known, log_det, _ = tf.while_loop(
            lambda i, known, log_det, active: (i < columns) & tf.reduce_any(active),
            body,
            start,
            invariants,
            maximum_iterations=columns,
        )
        return known, log_det


def _or_zero(gradient, like):
    return tf.zeros_like(like) if gradient is None else gradient
