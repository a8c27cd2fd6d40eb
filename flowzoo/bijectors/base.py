"""FusedBijector: a TFP bijector that computes its value and its log-det in one pass."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

Shape = tuple[int, ...]
Pair = tuple[tf.Tensor, tf.Tensor]


class FusedBijector(tfp.bijectors.Bijector):
    """A bijector whose subclasses implement two methods and get all of TFP's methods from them.

    A subclass implements ``_forward_and_log_det(z) -> (x, log|det dx/dz|)`` and
    ``_inverse_and_log_det(x) -> (z, log|det dz/dx|)``. TFP's `forward`, `inverse` and
    both ``*_log_det_jacobian`` follow from these. Callers that need value and log-det call
    `forward_and_log_det` or `inverse_and_log_det`, so that a conditioner runs once.

    Directions are TFP's: *forward* = latent to data, *inverse* = data to latent. The event shapes
    of both sides are static and are checked here for every subclass.

    Args:
        latent_shape: Event shape of the input of `forward`.
        data_shape: Event shape of the output of `forward`.
        dtype: Floating dtype of values and log-dets.
        name: Name shown in error messages; the class name by default.

    Note:
        A log-det has the batch shape, or a shape that broadcasts to it (a bijector without batch
        parameters may return a scalar).
    """

    def __init__(self, latent_shape: Shape, data_shape: Shape, *, dtype, name: str | None = None):
        self.latent_shape = tuple(latent_shape)
        self.data_shape = tuple(data_shape)
        self._memo: dict = {}
        super().__init__(
            forward_min_event_ndims=len(self.latent_shape),
            inverse_min_event_ndims=len(self.data_shape),
            dtype=tf.as_dtype(dtype),
            parameters={},
            name=name or type(self).__name__,
        )

    # A bijector is a temporary object that closes over a layer's current weights: it equals only itself.
    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return id(self)

    # -- for subclasses to implement -------------------------------------------------------
    def _forward_and_log_det(self, z: tf.Tensor) -> Pair:
        raise NotImplementedError

    def _inverse_and_log_det(self, x: tf.Tensor) -> Pair:
        raise NotImplementedError

    # -- for callers -----------------------------------------------------------------------
    def forward_and_log_det(self, z) -> Pair:
        """Latent to data: returns ``(x, log|det dx/dz|)`` for `z` of shape ``[..., *latent_shape]``."""
        z = self._checked(z, self.latent_shape, "latent")
        return self._forward_and_log_det(z)

    def inverse_and_log_det(self, x) -> Pair:
        """Data to latent: returns ``(z, log|det dz/dx|)`` for `x` of shape ``[..., *data_shape]``."""
        x = self._checked(x, self.data_shape, "data")
        return self._inverse_and_log_det(x)

    # -- TFP's interface, from the two above -----------------------------------------------
    def _forward(self, z):
        return self._remembered("forward", self.forward_and_log_det, z)[0]

    def _inverse(self, x):
        return self._remembered("inverse", self.inverse_and_log_det, x)[0]

    def _forward_log_det_jacobian(self, z):
        return self._remembered("forward", self.forward_and_log_det, z)[1]

    def _inverse_log_det_jacobian(self, x):
        return self._remembered("inverse", self.inverse_and_log_det, x)[1]

    def _forward_event_shape(self, shape):
        self._checked_shape(shape, self.latent_shape, "latent")
        return tf.TensorShape(self.data_shape)

    def _inverse_event_shape(self, shape):
        self._checked_shape(shape, self.data_shape, "data")
        return tf.TensorShape(self.latent_shape)

    def _forward_event_shape_tensor(self, shape):
        return tf.constant(self.data_shape, tf.int32)

    def _inverse_event_shape_tensor(self, shape):
        return tf.constant(self.latent_shape, tf.int32)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _remembered(self, direction, function, tensor) -> Pair:
        # TFP requests the value and the log-det in two calls: with the same tensor object or, for a
        # density, with the tensor that the first call returned. The last pair is cached for both, so that
        # the second call costs nothing. The graph is part of the key, because a tensor made inside a loop
        # body must not leak out of it.
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        held = self._memo.get(direction)
        if held is None or held[0] is not tensor or held[1] is not graph:
            value, log_det = function(tensor)
            held = (tensor, graph, (value, log_det))
            back = "inverse" if direction == "forward" else "forward"
            self._memo = {direction: held, back: (value, graph, (tensor, -log_det))}
        return held[2]

    def _checked(self, value, event_shape, side) -> tf.Tensor:
        value = tf.convert_to_tensor(value, dtype_hint=self.dtype)
        if value.dtype != self.dtype:
            raise TypeError(
                f"{self.name}: expected {self.dtype.name}; got {value.dtype.name}. Cast it first."
            )
        if value.shape.rank is not None:
            ndims = len(event_shape)
            got = value.shape[value.shape.rank - ndims :] if value.shape.rank >= ndims else value.shape
            self._checked_shape(got, event_shape, side)
        return tf.ensure_shape(value, [None] * (_rank(value, event_shape)) + list(event_shape))

    def _checked_shape(self, got, wanted, side):
        got = tf.TensorShape(got)
        if not got.is_compatible_with(wanted):
            raise ValueError(
                f"{self.name}: expected event shape {wanted} on the {side} side; got {tuple(got.as_list())}."
            )


def _rank(value, event_shape) -> int:
    """Number of batch dimensions of `value`."""
    if value.shape.rank is None:
        raise ValueError("A bijector needs a tensor of known rank; call tf.ensure_shape first.")
    return value.shape.rank - len(event_shape)


def forward_and_log_det(bijector: tfp.bijectors.Bijector, z, event_ndims: int) -> Pair:
    """``(bijector.forward(z), log-det)`` of any TFP bijector, in one pass for a `FusedBijector`."""
    if isinstance(bijector, FusedBijector):
        return bijector.forward_and_log_det(z)
    return bijector.forward(z), bijector.forward_log_det_jacobian(z, event_ndims)


def inverse_and_log_det(bijector: tfp.bijectors.Bijector, x, event_ndims: int) -> Pair:
    """``(bijector.inverse(x), log-det)`` of any TFP bijector, in one pass for a `FusedBijector`."""
    if isinstance(bijector, FusedBijector):
        return bijector.inverse_and_log_det(x)
    return bijector.inverse(x), bijector.inverse_log_det_jacobian(x, event_ndims)
