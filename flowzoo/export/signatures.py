"""The signatures of a served flow: log_prob, score, sample, encode, decode."""

from __future__ import annotations

import tensorflow as tf

from flowzoo.density import Density
from flowzoo.utils.validation import show_shape


class Signatures:
    """A flow's methods as traceable functions of named tensors, rows first on every input and output.

    They are traced again without XLA, because a stock TF Serving refuses functions compiled with it. Each
    starts with a shape check that says what is wrong, because the server does not check shapes. Values are
    never refused: an error would fail the other rows that the server put into the same batch. A row with NaN
    or infinity gets the lowest finite float instead, and `score` returns ``valid: false``.

    Args:
        density: The flow's density.
        checked: Whether the functions check shapes; ONNX has no op for this, but its runtime
            checks them.
    """

    def __init__(self, density: Density, checked: bool = True):
        self._density = density
        self._is_checked = checked
        self._dtype = tf.as_dtype(density.dtype)

    def functions(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """The functions by signature name."""
        density = self._density
        x = tf.TensorSpec([None, *density.event_shape], density.input_dtype, "x")
        z = tf.TensorSpec([None, *density.latent_shape], self._dtype, "z")
        seed = tf.TensorSpec([None], tf.int64, "seed")
        temperature = tf.TensorSpec([None], self._dtype, "temperature")
        log_prob = self._traced(self._log_prob, x)
        return {
            "serving_default": log_prob,
            "log_prob": log_prob,
            "score": self._traced(self._score, x),
            "sample": self._traced(self._sample, seed, temperature),
            "encode": self._traced(self._encode, x),
            "decode": self._traced(self._decode, z),
        }

    def _traced(self, method, *specs):
        if self._density.context_shape is not None:
            specs = (
                *specs,
                tf.TensorSpec([None, *self._density.context_shape], self._dtype, "context"),
            )

        def function(*tensors):
            if not self._is_checked:
                return method(*tensors)
            checked = [_checked(tensor, spec) for tensor, spec in zip(tensors, specs, strict=True)]
            rows = tf.shape(checked[0])[0]
            same = [
                tf.debugging.assert_equal(
                    tf.shape(tensor)[0],
                    rows,
                    f"{spec.name} and {specs[0].name} differ in their number of rows",
                )
                for tensor, spec in zip(checked[1:], specs[1:], strict=True)
            ]
            with tf.control_dependencies(same):
                return method(*[tf.identity(tensor) for tensor in checked])

        return tf.function(function, input_signature=specs, autograph=False)

    def _log_prob(self, x, context=None):
        return {"log_prob": self._score(x, context)["log_prob"]}

    def _score(self, x, context=None):
        return self._density.score_rows(tf.cast(x, self._dtype), context)

    def _sample(self, seed, temperature, context=None):
        return {"x": self._finite(self._density.sample_rows(seed, temperature, context))}

    def _encode(self, x, context=None):
        return {"z": self._finite(self._density.encode_rows(tf.cast(x, self._dtype), context))}

    def _decode(self, z, context=None):
        return {"x": self._finite(self._density.decode_rows(z, context))}

    def _finite(self, values):
        """Replaces NaN and infinity, which JSON lacks, with the lowest finite float."""
        return tf.where(tf.math.is_finite(values), values, self._dtype.min)


def input_specs(function: tf.types.experimental.ConcreteFunction) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature by name, in order."""
    return {spec.name: spec for spec in function.structured_input_signature[0]}


def describe(functions: dict[str, tf.types.experimental.ConcreteFunction]) -> dict:
    """Dtype and shape (None: any number of rows) of every input and output, as plain JSON values."""

    def tensors(specs):
        return {name: {"dtype": s.dtype.name, "shape": s.shape.as_list()} for name, s in specs.items()}

    return {
        name: {"inputs": tensors(input_specs(f)), "outputs": tensors(f.structured_outputs)}
        for name, f in functions.items()
    }


def _checked(tensor, spec):
    """Checks the tensor's shape when the graph runs, not when it is traced."""
    # Hides the static shape; with it, the check would be optimised away.
    hidden = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=None)
    wanted = spec.shape.as_list()
    message = f"{spec.name} must have shape {show_shape(wanted)}"
    # Rank and sizes in one comparison: a check of the rank alone is optimised away, because the
    # signature fixes the rank. The number of rows may be any; -1 marks the end of the shape.
    shape, end = tf.shape(hidden), tf.fill([len(wanted) + 1], -1)
    got = tf.concat([tf.minimum(shape[:1], 0), shape[1:], end], axis=0)[: len(wanted) + 1]
    right = tf.constant([0, *wanted[1:], -1], tf.int32)
    with tf.control_dependencies([tf.debugging.assert_equal(got, right, message)]):
        return tf.ensure_shape(tf.identity(hidden), wanted)
