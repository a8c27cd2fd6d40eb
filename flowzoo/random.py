"""Row-wise counter-based noise (Threefry-2x32): a seed gives the same sample on every runtime.

A row's noise depends on the row's own seed alone: not on other rows, the batch size or the runtime. So TF
Serving may batch, pad and split requests, and Keras, a SavedModel and an ONNX graph give the same noise.
Random words and uniforms agree to the last bit; normals agree up to the rounding of a runtime's logarithm
and cosine. Only ops that all these runtimes have are used.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_TWO_32 = 2**32

# For noise that does not come from row seeds, in training: `tf.random.stateless_*(..., alg=ALGORITHM)`. XLA's
# own choice is a hundred times slower on a CPU.
ALGORITHM = "philox"


def threefry2x32(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds, for uint32 NumPy arrays or uint32 tensors that broadcast.

    Example:
        >>> import numpy as np
        >>> zero = np.zeros(1, np.uint32)
        >>> [f"{int(word[0]):08x}" for word in threefry2x32((zero, zero), (zero, zero))]
        ['6b200159', '99ba4efe']
    """
    xor, rotate, constant = _numpy_ops() if isinstance(key[0], np.ndarray) else _tf_ops()
    keys = (key[0], key[1], xor(xor(key[0], key[1]), constant(_PARITY)))
    x0, x1 = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = xor(rotate(x1, rotation), x0)
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + constant(group + 1)
    return x0, x1


def fresh_seed() -> int:
    """A seed in [0, 2**63) that differs at each call; `keras.utils.set_random_seed` fixes the order."""
    # Python's own generator, from which Keras draws its seeds as well.
    return random.getrandbits(63)


def row_seeds(seed: int, count: int) -> np.ndarray:
    """The seeds of `count` rows that one seed stands for: int64 in [0, 2**63), shape ``[count]``.

    ``flow.sample(n, seed=s)`` equals ``flow.sample(n, seed=row_seeds(s, n))``: a client that sends these
    seeds to a server gets the same samples. Needs only NumPy.

    Example:
        >>> row_seeds(0, 5)[:2].tolist() == row_seeds(0, 2).tolist()
        True
    """
    low, high = np.uint32(seed % _TWO_32), np.uint32(seed // _TWO_32 % _TWO_32)
    index = np.arange(count, dtype=np.uint32)
    # Any constant would do; 0xF10 differs from the streams of the noise, so the words differ too.
    x0, x1 = threefry2x32((np.full(count, low), np.full(count, high)), (index, np.full_like(index, 0xF10)))
    return ((x1.astype(np.uint64) >> 1) << 32 | x0.astype(np.uint64)).astype(np.int64)


def permutation(seed: int, size: int) -> list[int]:
    """A permutation of ``range(size)``; it must never change, because it is part of saved models."""
    words = (
        np.full(size, seed % _TWO_32, np.uint32),
        np.full(size, seed // _TWO_32 % _TWO_32, np.uint32),
    )
    bits, _ = threefry2x32(words, (np.arange(size, dtype=np.uint32), np.full(size, 0xE12, np.uint32)))
    return np.argsort(bits, kind="stable").tolist()


def uniform(seeds: tf.Tensor, size: int, stream: int = 0) -> tf.Tensor:
    """Uniform noise in [0, 1), float32 with 24 random bits, shape ``[rows, size]``.

    Args:
        seeds: int64 ``[rows]``, one per row.
        size: Number of values per row.
        stream: Number of the stream. Streams of one seed are independent; use one for each purpose.
    """
    import tensorflow as tf

    first, second = _words(seeds, (size + 1) // 2, stream)
    return tf.transpose(tf.concat([_unit(first), _unit(second)], axis=0)[:size])


def normal(seeds: tf.Tensor, size: int, stream: int = 0) -> tf.Tensor:
    """Standard normal noise by the Box-Muller transform, float32, shape ``[rows, size]``.

    Args:
        seeds: int64 ``[rows]``, one per row.
        size: Number of values per row.
        stream: Number of the stream. Streams of one seed are independent; use one for each purpose.

    Example:
        >>> import tensorflow as tf
        >>> noise = normal(tf.constant([7, 8, 7], tf.int64), 3)
        >>> bool(tf.reduce_all(noise[0] == noise[2])), noise.shape.as_list()
        (True, [3, 3])
    """
    import tensorflow as tf

    first, second = _words(seeds, (size + 1) // 2, stream)
    # 1 - u lies in (0, 1]: the logarithm is finite.
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - _unit(first)))
    angle = (2.0 * math.pi) * _unit(second)
    return tf.transpose(tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)[:size])


def _words(seeds, count, stream):
    """Two random uint32 words for each of `count` counters and each row: ``[count, rows]`` each.

    Rows are the last axis, so that XLA's programs handle several with one instruction.
    """
    import tensorflow as tf

    # Halves by division, not by shifting: ONNX has no BitShift on int64.
    low = tf.cast(tf.math.floormod(seeds, _TWO_32), tf.uint32)[None]
    high = tf.cast(tf.math.floormod(tf.math.floordiv(seeds, _TWO_32), _TWO_32), tf.uint32)[None]
    index = tf.constant(np.arange(count, dtype=np.uint32)[:, None])
    return threefry2x32((low, high), (index, tf.constant(np.full((count, 1), stream, np.uint32))))


def _unit(words):
    """uint32 words to float32 in [0, 1) by their upper 24 bits: every value is exact."""
    import tensorflow as tf

    upper = tf.bitwise.right_shift(words, tf.constant(8, tf.uint32))
    # Through int64: a cast from uint32 to float is missing from some runtimes.
    return tf.cast(tf.cast(upper, tf.int64), tf.float32) * (1.0 / 2**24)


def _numpy_ops():
    def rotate(x, bits):
        return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))

    return np.bitwise_xor, rotate, np.uint32


def _tf_ops():
    import tensorflow as tf

    def constant(value):
        return tf.constant(value, tf.uint32)

    def rotate(x, bits):
        left = tf.bitwise.left_shift(x, constant(bits))
        return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(x, constant(32 - bits)))

    return tf.bitwise.bitwise_xor, rotate, constant
