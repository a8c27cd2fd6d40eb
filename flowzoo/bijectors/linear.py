"""Linear: an invertible linear map of the last axis in LU form (Kingma and Dhariwal 2018, eq. 11)."""

from __future__ import annotations

import math

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape

# From this size on, each row takes one step of iterative refinement against the rounding of the inverse
# matrix. Float32 round trip of a rotation of size 48, 128 and 512: 3e-6, 1e-5 and 2e-4 without it, 7e-7, 1e-6
# and 2e-6 with it, as accurate as LAPACK's solver.
_REFINED_SIZE = 32

# Up to this size a triangular matrix is inverted as a whole, with more arithmetic but fewer kernels. Compared
# with halving it down to single entries, this takes a fifth of the time at size 8, the same time at 128 and
# four times as long at 256.
_LEAF_SIZE = 128


class Linear(FusedBijector):
    """Data to latents: ``z = W x + bias`` with ``W = P L (U + diag(s))``, on vectors or on every pixel.

    L is lower triangular with ones on its diagonal, U is strictly upper triangular, P is a permutation. The
    log-det is the sum of ``log|s|`` times the number of pixels, so the graph has neither a determinant nor
    a solver. `inverse` is one matrix product. `forward` first inverts the two factors, also by matrix
    products, at a cost that does not grow with the number of rows. Where weights are constants, as in ONNX,
    a runtime does that once, when it loads the model.

    For images this is Glow's invertible 1x1 convolution.

    Args:
        lu: ``[C, C]``, packed as in LAPACK: L below the diagonal, U above it, but ``log|s|`` on it.
        event_shape: Event shape of both sides, ``(..., C)``.
        signs: ``[C]``, the signs of s, 1 or -1; ``None`` for all 1.
        permutation: ``[C]`` integers: row i of W is row ``permutation[i]`` of ``L (U + diag(s))``.
            ``None`` for the identity.
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
        lower, upper = _factors(self._lu, self._signs)
        upper_inverse = tf.transpose(lower_triangular_inverse(tf.transpose(upper)))
        product = upper_inverse @ lower_triangular_inverse(lower)
        return product if self._permutation is None else tf.gather(product, self._permutation, axis=1)

    def _log_det(self):
        pixels = math.prod(self.data_shape[:-1])
        return pixels * tf.reduce_sum(_diagonal(self._lu))


def lower_triangular_inverse(matrix: tf.Tensor) -> tf.Tensor:
    """Inverts a lower triangular matrix ``[C, C]`` by matrix products alone.

    ``[[A, 0], [B, D]]`` has the inverse ``[[A', 0], [-D' B A', D']]``. This is as accurate as substitution;
    the shorter ``(I - N)(I + N^2)(I + N^4)...`` loses all digits from C = 128 on.

    Source: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), section 14.2.
    """
    size = matrix.shape[-1]
    if size > _LEAF_SIZE:
        half = size // 2
        a = lower_triangular_inverse(matrix[:half, :half])
        d = lower_triangular_inverse(matrix[half:, half:])
        upper_half = tf.pad(a, [[0, 0], [0, size - half]])
        return tf.concat([upper_half, tf.concat([-d @ (matrix[half:, :half] @ a), d], axis=1)], axis=0)
    # Bottom up: all diagonal blocks of one size are inverted at once; the other entries stay zero.
    index = tf.range(size)
    inverse = _identity(index, matrix.dtype) / _diagonal(matrix)
    for level in range(math.ceil(math.log2(size))):
        block = index // 2**level
        neighbours = block[:, None] // 2 == block[None, :] // 2
        b = tf.where(neighbours & (block[:, None] > block[None, :]), matrix, tf.zeros_like(matrix))
        inverse -= inverse @ b @ inverse
    return inverse


def _factors(lu, signs):
    """L and ``U + diag(s)`` from their packed form."""
    index = tf.range(lu.shape[-1])
    identity = _identity(index, lu.dtype)
    scale = tf.exp(_diagonal(lu))
    scale = scale if signs is None else scale * signs
    below = index[:, None] > index[None, :]
    above = index[:, None] < index[None, :]
    return tf.where(below, lu, identity), tf.where(above, lu, identity * scale)


def _identity(index, dtype):
    return tf.cast(index[:, None] == index[None, :], dtype)


def _diagonal(matrix):
    index = tf.range(matrix.shape[-1])
    return tf.reduce_sum(matrix * _identity(index, matrix.dtype), axis=-1)


def _times(rows, matrix):
    """``matrix @ row`` for every row of the last axis.

    This is a product of two matrices. On a CPU it is 1.2 to 2 times as fast as a 1x1 convolution, forward and
    backward, from 32x32x3 to 8x8x48 at batch 64; under XLA it is as fast forward and faster backward.
    """
    flat = tf.reshape(rows, [-1, rows.shape[-1]])
    return tf.reshape(tf.matmul(flat, matrix, transpose_b=True), tf.shape(rows))
