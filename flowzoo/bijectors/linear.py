"""Linear: an invertible linear map of the last axis in LU form (Kingma and Dhariwal 2018, eq. 11)."""

from __future__ import annotations

import math

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape

# From this size on the rounding of an inverse matrix shows, and rows are refined once. float32 round trip
# of a rotation: 3e-6 at 48, 1e-5 at 128, 2e-4 at 512 without; 7e-7, 1e-6, 2e-6 with, as LAPACK's solver.
_REFINED_SIZE = 32


class Linear(FusedBijector):
    """Data to latents: ``z = W x + bias`` with ``W = P L (U + diag(s))``, on vectors or on every pixel.

    L is lower triangular with ones on its diagonal, U upper triangular with zeros, P a permutation. So the
    log-det is the sum of ``log|s|`` (once for every pixel), and neither a determinant nor a solver is in
    the graph. `inverse` is one matrix product; `forward` inverts the two factors first, by matrix
    products as well, at a cost that does not grow with the number of rows. Where weights are constants,
    as in ONNX, a runtime does that once, when it loads the model.

    For images this is Glow's invertible 1x1 convolution.

    Args:
        lu: ``[C, C]``, packed as LAPACK does it: L below the diagonal, U above; on it ``log|s|``.
        event_shape: ``(..., C)``, of both sides.
        signs: ``[C]``, 1 or -1: the signs of s. ``None``: all 1.
        permutation: ``[C]`` integers: row i of W is row ``permutation[i]`` of ``L (U + diag(s))``.
            ``None``: in order.
        bias: ``[C]``, or ``None``.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Linear
        >>> linear = Linear([[0.0, 5.0], [0.0, 0.0]], (2,))
        >>> linear.inverse([[1.0, 2.0]]).numpy().tolist()
        [[11.0, 2.0]]
        >>> linear.forward([[11.0, 2.0]]).numpy().tolist()
        [[1.0, 2.0]]
    """

    def __init__(
        self,
        lu,
        event_shape: Shape,
        *,
        signs=None,
        permutation=None,
        bias=None,
        dtype=tf.float32,
        name: str | None = None,
    ):
        self._lu = tf.convert_to_tensor(lu, dtype)
        self._signs = None if signs is None else tf.convert_to_tensor(signs, dtype)
        self._permutation = permutation
        self._bias = None if bias is None else tf.convert_to_tensor(bias, dtype)
        self._size = event_shape[-1]
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    def _inverse_and_log_det(self, x):
        z = _times(x, self._matrix())
        return z if self._bias is None else z + self._bias, self._log_det()

    def _forward_and_log_det(self, z):
        z = z if self._bias is None else z - self._bias
        inverse = self._inverse_matrix()
        x = _times(z, inverse)
        if self._size >= _REFINED_SIZE:
            x += _times(z - _times(x, self._matrix()), inverse)
        return x, -self._log_det()

    def _matrix(self):
        lower, upper = _factors(self._lu, self._signs)
        product = lower @ upper
        return product if self._permutation is None else tf.gather(product, self._permutation)

    def _inverse_matrix(self):
        # Zeros around the packed factors put ones on the diagonals of both: the inverse is only padded.
        padding = 2 ** math.ceil(math.log2(self._size)) - self._size
        signs = None if self._signs is None else tf.pad(self._signs, [[0, padding]], constant_values=1)
        lower, upper = _factors(tf.pad(self._lu, [[0, padding], [0, padding]]), signs)
        lower, upper = tf.unstack(lower_triangular_inverse(tf.stack([lower, tf.transpose(upper)])))
        product = tf.matmul(upper, lower, transpose_a=True)[: self._size, : self._size]
        return product if self._permutation is None else tf.gather(product, self._permutation, axis=1)

    def _log_det(self):
        pixels = math.prod(self.data_shape[:-1])
        return pixels * tf.reduce_sum(_diagonal(self._lu))


def lower_triangular_inverse(matrices: tf.Tensor) -> tf.Tensor:
    """Inverses of lower triangular matrices ``[N, C, C]``, C a power of 2, by matrix products alone.

    ``[[A, 0], [B, D]]`` has the inverse ``[[A', 0], [-D' B A', D']]``; all diagonal blocks of one size
    are inverted together, so there are log2(C) levels, of two products each. As accurate as
    substitution, where ``(I - N)(I + N^2)(I + N^4)...`` loses everything from C = 128 on.

    Source: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), section 14.2.
    """
    size = matrices.shape[-1]
    if size == 1:
        return 1.0 / matrices
    half = size // 2
    a, b, d = matrices[:, :half, :half], matrices[:, half:, :half], matrices[:, half:, half:]
    a, d = tf.split(lower_triangular_inverse(tf.concat([a, d], axis=0)), 2, axis=0)
    left = tf.concat([a, -d @ (b @ a)], axis=1)
    right = tf.concat([tf.zeros_like(d), d], axis=1)
    return tf.concat([left, right], axis=2)


def _factors(lu, signs):
    """L and ``U + diag(s)`` from their packed form."""
    index = tf.range(lu.shape[-1])
    rows, columns = index[:, None], index[None, :]
    identity = tf.cast(rows == columns, lu.dtype)
    scale = tf.exp(_diagonal(lu))
    scale = scale if signs is None else scale * signs
    return tf.where(rows > columns, lu, identity), tf.where(rows < columns, lu, identity * scale)


def _diagonal(lu):
    index = tf.range(lu.shape[-1])
    return tf.reduce_sum(tf.where(index[:, None] == index[None, :], lu, tf.zeros_like(lu)), axis=-1)


def _times(rows, matrix):
    """``matrix @ row`` for every row of the last axis.

    A product of two flat matrices: on a CPU 1.2 to 2 times as fast as a 1x1 convolution, forward and
    backward, from 32x32x3 to 8x8x48 at batch 64; under XLA it is as fast forward and faster backward.
    """
    flat = tf.reshape(rows, [-1, rows.shape[-1]])
    return tf.reshape(tf.matmul(flat, matrix, transpose_b=True), tf.shape(rows))
