"""StepwiseConditioner: a conditioner that can compute the parameters of one column after the other."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from flowzoo.conditioners.base import Conditioner


class StepwiseConditioner(Conditioner):
    """Maps columns ``[..., D]`` to parameters ``[..., P, D]``; those of column i depend on columns before i.

    Autoregressive bijectors run it in three ways, each a function of the weights, so that they can define
    their own gradients. A subclass implements `weights_now` and `full_pass`, and overrides the two solvers if
    it can share work between columns: `MADE` computes each hidden unit once, a transformer would cache keys
    and values. The solvers here take D full passes.

    Attributes:
        columns: D; set by `create_weights`.
    """

    columns: int

    def weights_now(self) -> list[tf.Tensor]:
        """The current weights as tensors of the compute dtype."""
        raise NotImplementedError

    def full_pass(self, weights: list[tf.Tensor], x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Parameters ``[..., P, D]`` of all columns at once.

        Args:
            weights: What `weights_now` returned.
            x: ``[..., D]``.
            context: ``[..., size]`` or None.
        """
        raise NotImplementedError

    def solve(
        self, weights: list[tf.Tensor], context: tf.Tensor | None, far: tf.Tensor, map_column: Callable
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the known columns from the far ones, first column first.

        Args:
            weights: What `weights_now` returned.
            context: ``[N, size]`` or None.
            far: ``[N, D]``, the side that the network does not see.
            map_column: ``map_column(parameters [N, P, K], columns [N, K])`` maps far columns to known ones;
                returns these and the log-det ``[N]``.

        Returns:
            Known columns ``[N, D]`` and the log-det ``[N]``.
        """

        def body(i, known, log_det):
            # After pass i the first i columns are correct.
            parameters = tf.cast(self.full_pass(weights, known, context), far.dtype)
            return i + 1, *map_column(parameters, far)

        _, known, log_det = tf.while_loop(
            lambda i, *_: i < self.columns,
            body,
            (tf.constant(0), tf.zeros_like(far), tf.zeros_like(far[:, 0])),
            (tf.TensorShape([]), far.shape, far.shape[:1]),
            maximum_iterations=self.columns,
        )
        return known, log_det

    def solve_transposed(
        self,
        weights: list[tf.Tensor],
        context: tf.Tensor | None,
        known: tf.Tensor,
        map_known: Callable,
        v: tf.Tensor,
    ) -> tf.Tensor:
        """Solves ``J^T w = v``, J being the triangular Jacobian of the far columns by the known ones.

        Args:
            weights: What `weights_now` returned.
            context: ``[N, size]`` or None.
            known: ``[N, D]``, where J is taken.
            map_known: ``map_known(parameters [N, P, D], known [N, D])`` gives the far columns, element by
                element.
            v: ``[N, D]``.

        Returns:
            w ``[N, D]``.
        """

        def far_columns(known):
            return map_known(tf.cast(self.full_pass(weights, known, context), known.dtype), known)

        parameters = tf.cast(self.full_pass(weights, known, context), known.dtype)
        with tf.GradientTape() as tape:
            tape.watch(known)
            far = map_known(parameters, known)
        diagonal = tape.gradient(far, known)

        def body(i, w):
            # After pass i the last i columns are correct.
            with tf.GradientTape() as tape:
                tape.watch(known)
                far = far_columns(known)
            coupled = tape.gradient(far, known, output_gradients=w) - diagonal * w
            return i + 1, (v - coupled) / diagonal

        _, w = tf.while_loop(
            lambda i, _: i < self.columns,
            body,
            (tf.constant(0), tf.zeros_like(v)),
            maximum_iterations=self.columns,
        )
        return w
