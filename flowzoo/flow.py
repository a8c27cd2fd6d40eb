"""Flow: a Keras model that is a density: log_prob, sample, encode, decode, adapt, fit, save, export."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import bases, bijectors, checks, conditioners, layers, random, replicas, reversible, xla
from flowzoo.batching import RowFunction
from flowzoo.chunks import rows_at_once
from flowzoo.layers import Dequantize, FlowLayer
from flowzoo.likelihood import LikelihoodModel

# Keras finds a class when it loads a `.keras` file only if its module has been imported; ours are lazy.
for _package in (bases, conditioners, layers):
    for _name in _package.__all__:
        getattr(_package, _name)


@keras.saving.register_keras_serializable("flowzoo")
class Flow(LikelihoodModel):
    """A normalizing flow: raw data, preprocessing, transforms, base.

    Most users call `flowzoo.create_model` or `flowzoo.from_pretrained`; a researcher assembles one from
    flow layers here. Every density is of the raw data in nats: preprocessing is part of the flow and
    its log-det counts.

    Args:
        transforms: Flow layers, data side first.
        event_shape: Shape of one row of raw data: ``(D,)`` or ``(H, W, C)``.
        context_shape: ``(size,)`` of the context vectors, or None.
        preprocessing: Flow layers before the transforms (`Dequantize` first, if there is one).
        base: Base of the latents; standard normal by default.
        architecture: Registry name it was built from.
        options: Options it was built with.

    Example:
        >>> import numpy as np, flowzoo
        >>> x = np.random.default_rng(0).normal(3.0, 2.0, (256, 2)).astype("float32")
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), couplings=2, hidden_units=(16,))
        >>> history = flow.fit(x, epochs=1, verbose=0)
        >>> flow.log_prob(x).shape, flow.sample(4, seed=1).shape
        (TensorShape([256]), TensorShape([4, 2]))
    """

    built: bool

    def __init__(
        self,
        transforms: Sequence[FlowLayer],
        event_shape: Sequence[int],
        context_shape: Sequence[int] | None = None,
        *,
        preprocessing: Sequence[FlowLayer] = (),
        base: bases.Base | None = None,
        architecture: str | None = None,
        options: dict | None = None,
        **kwargs: Any,
    ):
        super().__init__(event_shape, context_shape, **kwargs)
        self.transforms = list(transforms)
        self.preprocessing = list(preprocessing)
        self.base = bases.Normal() if base is None else base
        self.architecture = architecture
        self.options = options
        if any(isinstance(layer, Dequantize) for layer in [*self.preprocessing[1:], *self.transforms]):
            raise ValueError("Dequantize takes the raw data: it can only be the first preprocessing layer.")
        self._row_functions: dict[tuple[str, bool], RowFunction] = {}
        self.build((None, *self.event_shape))
        self.use_xla = xla.on_gpu() or all(network.compiles_well for network in self._convnets())

    # -- shape and state -------------------------------------------------------------------
    def build(self, input_shape: Any = None) -> None:
        """Creates every weight; called by the constructor."""
        if self.built:
            return
        # Whether `adapt` has run; saved with the weights, so that a loaded flow keeps its own.
        self.adapted = self.add_weight(name="adapted", shape=(), initializer="zeros", trainable=False)
        shape = self.event_shape
        context = None if self.context_shape is None else (None, *self.context_shape)
        for layer in self.flow_layers:
            layer.build((None, *shape), context)
            shape = tuple(layer.latent_shape(shape))
        self.base.build((None, *shape), context)
        self.latent_shape = shape
        self.built = True

    @property
    def flow_layers(self) -> list[FlowLayer]:
        """Preprocessing and transforms, data side first."""
        return [*self.preprocessing, *self.transforms]

    @property
    def pixel_levels(self) -> int | None:
        """Number of values of a pixel, if the flow is one of whole pixels: 256, say."""
        highest = [layer.high for layer in self.preprocessing if isinstance(layer, layers.Logit)]
        return int(highest[0]) if self.is_image and highest else None

    @property
    def input_dtype(self) -> str:
        """Dtype of raw data in a serving signature: uint8 for whole pixels, else float32."""
        discrete = self.preprocessing and isinstance(self.preprocessing[0], Dequantize)
        return "uint8" if self.is_image and discrete else self.variable_dtype

    # -- the density -----------------------------------------------------------------------
    def bijector(self, context: Any = None, training: bool = False) -> bijectors.Chain:
        """The whole flow as one TFP bijector: forward = latents to raw data.

        Throw-away: it holds the current values of the weights, for this context.
        """
        return self.chain(self.flow_layers, context, training)

    def chain(
        self, part: Sequence[FlowLayer], context: Any = None, training: bool = False
    ) -> bijectors.Chain:
        """A part of the flow as one bijector: `preprocessing` or `transforms`."""
        parts = [layer.bijector(context, training) for layer in part]
        return bijectors.Chain(parts, self.event_shape, dtype=self.variable_dtype, name=self.name)

    def distribution(self, context: Any = None) -> tfp.distributions.TransformedDistribution:
        """The flow as a TFP distribution, for everything that TFP does with one.

        It is the continuous density: `Dequantize` adds no noise here.

        Args:
            context: ``[N, size]``; the distribution then has batch shape ``[N]``.
        """
        context = checks.as_context(context, self.context_shape, None, self.variable_dtype)
        return tfp.distributions.TransformedDistribution(
            self.base.distribution(context), self.bijector(context)
        )

    def preprocess(self, x: tf.Tensor, stop: int | None = None, noise_seed: Any = None) -> tf.Tensor:
        """Rows as the transforms see them, or as preprocessing layer `stop` sees them."""
        x = self.dequantize(x, noise_seed)
        for layer in self.preprocessing[:stop]:
            x = layer.bijector().inverse(x)
        return x

    def dequantize(self, x: tf.Tensor, noise_seed: Any = None) -> tf.Tensor:
        """Raw rows with `Dequantize`'s noise, if there is that layer: the row's own, or new noise."""
        if self.preprocessing and isinstance(self.preprocessing[0], Dequantize):
            return self.preprocessing[0].noisy(x, noise_seed)
        return x

    def log_density(
        self, x: Any, context: Any = None, training: bool = False, noise_seed: Any = None
    ) -> tf.Tensor:
        """Log-density of tensors ``[N, *event_shape]`` of the flow's dtype, unchecked; for traces.

        With a `noise_seed` rows are moved by new noise: `Dequantize`'s, and that of ``compile(noise=)``.
        """
        x = self.dequantize(x, noise_seed)
        if self._noise and noise_seed is not None:
            x = self._blurred(x, noise_seed)
        if training and self.memory_efficient:
            z, log_det = reversible.encode(self.flow_layers, x, context)
        else:
            z, log_det = self.bijector(context, training).inverse_and_log_det(x)
        return self.base.log_prob(z, context) + log_det

    def _blurred(self, x, noise_seed):
        """Rows moved by Gaussian noise, behind preprocessing: where all columns have one scale."""
        preprocessing = self.chain(self.preprocessing)
        # Another seed: the same one would give the bits of `Dequantize`'s noise again.
        seed = tf.random.experimental.stateless_fold_in(noise_seed, 1)
        noise = replicas.draw_rows(
            lambda rows: tf.random.stateless_normal(
                [rows, *self.event_shape], seed, dtype=x.dtype, alg=random.ALGORITHM
            ),
            tf.shape(x)[0],
        )
        return preprocessing.forward(preprocessing.inverse(x) + self._noise * noise)

    # -- what users call -------------------------------------------------------------------
    def log_prob(self, x: Any, context: Any = None) -> tf.Tensor:
        """Log-density of raw data.

        Args:
            x: ``[N, *event_shape]``, any numeric dtype, raw units.
            context: ``[N, size]`` (or one vector for all rows) if the flow is conditional.

        Returns:
            ``[N]``, nats.

        Raises:
            ValueError: On wrong shapes or types, NaN or infinity.
        """
        x, context = self._rows(x, context)
        return self._row_function("log_density", self.log_density)(*_present(x, context))

    def bits_per_dim(self, x: Any, context: Any = None) -> tf.Tensor:
        """``-log_prob / (D ln 2)``: ``[N]``, bits; for pixels 0..255 comparable with the papers."""
        return -self.log_prob(x, context) * self.bits_per_nat_dim

    def score(self, x: Any, context: Any = None) -> dict[str, tf.Tensor]:
        """`log_prob` for data that may hold bad rows, as the serving signature of this name does.

        Returns:
            ``log_prob`` ``[N]``, the lowest finite float where a row (or its context) holds NaN or
            infinity; ``valid`` ``[N]`` bool; for images ``bits_per_dim`` ``[N]`` too.
        """
        x, context = self._rows(x, context, finite=False)
        return self._row_function("score", self.score_rows)(*_present(x, context))

    def sample(
        self, n: int | None = None, context: Any = None, temperature: Any = 1.0, seed: Any = 0
    ) -> tf.Tensor:
        """Samples in raw units.

        Args:
            n: How many; may be left out if `context` or `seed` has rows.
            context: ``[n, size]`` or one vector for all, if the flow is conditional.
            temperature: Scales the base's noise; one number or ``[n]``. Below 1: likelier samples.
            seed: An int, or int64 ``[n]``: one seed a row (see `flowzoo.random.row_seeds`). The same seed
                gives the same sample in Keras, in TF Serving and in ONNX Runtime.

        Returns:
            ``[n, *event_shape]``. Discrete data come as continuous values in their steps: take
            ``tf.floor`` for whole pixels.

        Raises:
            ValueError: If the counts do not agree, or seed or temperature are no numbers.
        """
        n = checks.sample_count(n, context, self.context_shape, seed)
        if checks.as_numbers(seed, n, "seed", whole=True).ndim == 0:
            seed = random.row_seeds(int(seed), n)
        if checks.as_numbers(temperature, n, "temperature").ndim == 0:
            temperature = _for_each_row(float(temperature), n, self.variable_dtype)
        # A tensor stays what it is: making one takes as long as a small flow.
        seeds, temperature = _tensor(seed, tf.int64), _tensor(temperature, self.variable_dtype)
        context = checks.as_context(context, self.context_shape, n, self.variable_dtype)
        return self._row_function("sample", self.sample_rows)(*_present(seeds, temperature, context))

    def encode(self, x: Any, context: Any = None) -> tf.Tensor:
        """Latents ``[N, *latent_shape]`` of raw data ``[N, *event_shape]``."""
        x, context = self._rows(x, context)
        return self._row_function("encode", self.encode_rows)(*_present(x, context))

    def decode(self, z: Any, context: Any = None) -> tf.Tensor:
        """Raw data ``[N, *event_shape]`` of latents ``[N, *latent_shape]``."""
        z = checks.as_rows(z, self.latent_shape, self.variable_dtype, "z")
        context = checks.as_context(context, self.context_shape, z.shape[0], self.variable_dtype)
        return self._row_function("decode", self.decode_rows)(*_present(z, context))

    # -- the same on checked tensors: what the methods above compile and `export` traces ---------
    def score_rows(self, x: Any, context: Any = None) -> dict[str, tf.Tensor]:
        """See `score`; tensors of the flow's dtype."""
        valid = _finite_rows(x) if context is None else _finite_rows(x) & _finite_rows(context)
        log_prob = self.log_density(_without_bad(x), None if context is None else _without_bad(context))
        valid &= tf.math.is_finite(log_prob)
        log_prob = tf.where(valid, log_prob, log_prob.dtype.min)
        if not self.is_image:
            return {"log_prob": log_prob, "valid": valid}
        bits = tf.where(valid, -log_prob * self.bits_per_nat_dim, log_prob.dtype.max)
        return {"log_prob": log_prob, "bits_per_dim": bits, "valid": valid}

    def sample_rows(self, seeds: Any, temperature: Any, context: Any = None) -> tf.Tensor:
        """See `sample`: seeds ``[N]`` int64, temperature ``[N]``."""
        return self.decode_rows(self.base.sample(seeds, temperature, context), context)

    def encode_rows(self, x: Any, context: Any = None) -> tf.Tensor:
        """See `encode`; tensors of the flow's dtype."""
        return self.bijector(context).inverse_and_log_det(self.dequantize(x))[0]

    def decode_rows(self, z: Any, context: Any = None) -> tf.Tensor:
        """See `decode`; tensors of the flow's dtype."""
        return self.bijector(context).forward_and_log_det(z)[0]

    def _rows(self, x, context, finite=True):
        x = checks.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        if finite and tf.executing_eagerly():
            checks.check_finite(x, "x")
            if context is not None:
                checks.check_finite(context, "context")
        return x, context

    def _row_function(self, key, function):
        key = (key, self.use_xla)
        if key not in self._row_functions:
            chunk = rows_at_once(self.event_shape, 8192)
            places = math.prod(self.event_shape[:-1]) if self._convnets() else 1
            self._row_functions[key] = RowFunction(function, chunk, self.use_xla, self.count_params(), places)
        return self._row_functions[key]

    # -- Keras -----------------------------------------------------------------------------
    def call(self, inputs: Any, context: Any = None, training: bool = False) -> tf.Tensor:
        """Log-densities ``[N]`` of `x`, of a pair ``(x, context)``, or of x with a context."""
        if isinstance(inputs, (tuple, list)) and context is None:
            inputs, context = (inputs[0], None) if len(inputs) == 1 else inputs
        x = checks.as_rows(inputs, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return self.log_density(x, context, training)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """One number a row."""
        return (input_shape[0],)

    # -- saving ----------------------------------------------------------------------------
    def save_to_preset(self, directory: str | os.PathLike, metadata: dict | None = None) -> None:
        """Writes a preset directory, for `flowzoo.from_pretrained`: config, weights, metadata."""
        from flowzoo.presets import save_preset

        save_preset(self, directory, metadata)

    def export(self, filepath: str | os.PathLike, format: str = "tf_saved_model", **kwargs: Any) -> Path:
        """Writes ``filepath/<next version>/`` for TF Serving, or graphs for ONNX Runtime; returns the path.

        Signatures: ``log_prob`` (also ``serving_default``), ``score``, ``sample``, ``encode``, ``decode``.
        For ONNX: ``log_prob.onnx``, ``sample.onnx``, ``encode.onnx`` and ``decode.onnx`` in `filepath`.

        Args:
            filepath: The model's base directory.
            format: "tf_saved_model" or "onnx".
            **kwargs: See `flowzoo.export.export_saved_model` (`version`, `keep`) and
                `flowzoo.export.export_onnx` (`rows`, `context`).

        Raises:
            ValueError: On an unknown format, and as those two do.
        """
        if format == "tf_saved_model":
            from flowzoo.export import export_saved_model

            return export_saved_model(self, filepath, **kwargs)
        if format == "onnx":
            from flowzoo.export import export_onnx

            return export_onnx(self, filepath, **kwargs)
        raise ValueError(f"format must be 'tf_saved_model' or 'onnx'; got {format!r}.")

    def get_config(self) -> dict:
        """Everything but the weights."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "dtype": serialize(self.dtype_policy),
            "transforms": [serialize(layer) for layer in self.transforms],
            "event_shape": list(self.event_shape),
            "context_shape": None if self.context_shape is None else list(self.context_shape),
            "preprocessing": [serialize(layer) for layer in self.preprocessing],
            "base": serialize(self.base),
            "architecture": self.architecture,
            "options": self.options,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Flow:
        """Undoes `get_config`."""

        def deserialize(value):
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)

        config = dict(config)
        config["dtype"] = deserialize(config["dtype"])
        config["base"] = deserialize(config["base"])
        for key in ("transforms", "preprocessing"):
            config[key] = [deserialize(layer) for layer in config[key]]
        return cls(**config)


@functools.lru_cache(maxsize=2)
def _for_each_row(number, rows, dtype):
    """``[rows]`` times a number; kept, for making it takes as long as the samples of a small flow."""
    with tf.init_scope():
        return tf.constant(np.full([rows], number), dtype)


def _tensor(numbers, dtype):
    return tf.cast(numbers, dtype) if tf.is_tensor(numbers) else tf.constant(numbers, dtype)


def _present(*tensors):
    return [tensor for tensor in tensors if tensor is not None]


def _finite_rows(x):
    return tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank)))


def _without_bad(x):
    """Non-finite entries as zeros, so that a bad row costs nothing but itself."""
    return tf.where(tf.math.is_finite(x), x, tf.zeros_like(x))
