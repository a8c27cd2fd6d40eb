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

from flowzoo import bases, bijectors, conditioners, layers, random
from flowzoo.backend import xla
from flowzoo.backend.row_function import RowFunction
from flowzoo.density import Density
from flowzoo.training.model import DensityModel
from flowzoo.training.objectives import MaximumLikelihood
from flowzoo.utils import validation
from flowzoo.utils.sizes import rows_per_chunk

# Keras finds a class when it loads a `.keras` file only if its module has been imported; ours are lazy.
for _package in (bases, conditioners, layers):
    for _name in _package.__all__:
        getattr(_package, _name)


@keras.saving.register_keras_serializable("flowzoo")
class Flow(DensityModel):
    """A normalizing flow: raw data, preprocessing, transforms, base.

    Most users call `flowzoo.create_model` or `flowzoo.from_pretrained`; researchers assemble a flow from
    layers here. Every density is of the raw data in nats: preprocessing is part of the flow and its log-det
    counts.

    Args:
        transforms: Flow layers, data side first.
        event_shape: Shape of one row of raw data: ``(D,)`` or ``(H, W, C)``.
        context_shape: ``(size,)`` of the context vectors, or None.
        preprocessing: Flow layers before the transforms (`Dequantize` first, if there is one).
        base: Base distribution of the latents; standard normal by default.
        architecture: Registry name of the architecture that the layers came from.
        options: Options that the architecture was built with.
        columns: Names of the columns of a row. Data frames are matched by these names.

    Attributes:
        density: The same flow as pure functions of tensors, for your own traces: a `Density`.
        columns: Names of the columns: those of the data frame that the flow was first fitted to. None if it
            was fitted to arrays; frames then go by place.

    Example:
        >>> import numpy as np, flowzoo
        >>> x = np.random.default_rng(0).normal(3.0, 2.0, (256, 2)).astype("float32")
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), steps=2, hidden_units=(16,))
        >>> history = flow.fit(x, epochs=1, verbose=0)
        >>> flow.log_prob(x).shape, flow.sample(4, seed=1).shape
        (TensorShape([256]), TensorShape([4, 2]))
    """

    built: bool

    def __init__(
        self,
        transforms: Sequence[layers.FlowLayer],
        event_shape: Sequence[int],
        context_shape: Sequence[int] | None = None,
        *,
        preprocessing: Sequence[layers.FlowLayer] = (),
        base: bases.Base | None = None,
        architecture: str | None = None,
        options: dict | None = None,
        columns: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        # Keras tracks layers that are attributes of the model.
        self.transforms = list(transforms)
        self.preprocessing = list(preprocessing)
        self.base = bases.Normal() if base is None else base
        self.architecture = architecture
        self.options = options
        self.density = Density(
            self.transforms,
            tuple(int(size) for size in event_shape),
            None if context_shape is None else tuple(int(size) for size in context_shape),
            preprocessing=self.preprocessing,
            base=self.base,
            dtype=self.variable_dtype,
            name=self.name,
            architecture=architecture,
        )
        self.columns = columns
        self.build()
        self._set_objective(MaximumLikelihood())
        self._row_functions: dict[tuple[str, bool], RowFunction] = {}
        self.use_xla = xla.on_gpu() or all(network.compiles_well for network in self.density.convnets())

    # -- description -----------------------------------------------------------------------
    def build(self, input_shape: Any = None) -> None:
        """Creates every weight; the constructor calls it."""
        if self.built:
            return
        # Whether `adapt` has run; saved with the weights, so that a loaded flow keeps its own.
        self.adapted = self.add_weight(name="adapted", shape=(), initializer="zeros", trainable=False)
        self.density.build()
        self.built = True

    @property
    def flow_layers(self) -> list[layers.FlowLayer]:
        """Preprocessing and transforms, data side first."""
        # Keras names weights in files by the first attribute, alphabetically, that holds them: this one.
        return [*self.preprocessing, *self.transforms]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one row of raw data."""
        return self.density.event_shape

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """``(size,)`` of the context vectors; None for an unconditional flow."""
        return self.density.context_shape

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Event shape of the latents."""
        return self.density.latent_shape

    @property
    def pixel_levels(self) -> int | None:
        """Number of values of a pixel for flows of whole pixels, 256 for example; else None."""
        return self.density.pixel_levels

    @property
    def input_dtype(self) -> str:
        """Dtype of raw data in a serving signature: uint8 for pixels of up to 256 levels, else the flow's."""
        return self.density.input_dtype

    # -- for TFP ---------------------------------------------------------------------------
    def bijector(self, context: Any = None, training: bool = False) -> bijectors.Chain:
        """The whole flow as one TFP bijector: forward = latents to raw data.

        It holds the current values of the weights: build another one after training.
        """
        return self.density.bijector(context, training)

    def distribution(self, context: Any = None) -> tfp.distributions.TransformedDistribution:
        """The flow as a TFP distribution.

        It is the continuous density: no dequantization noise is added.

        Args:
            context: ``[N, size]``; the distribution then has batch shape ``[N]``.

        Raises:
            ValueError: If the context does not fit the flow.
        """
        context = validation.as_context(context, self.context_shape, None, self.variable_dtype)
        return self.density.distribution(context)

    # -- densities and samples -------------------------------------------------------------
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
        return self._row_function("log_density")(*_present(x, context))

    def bits_per_dim(self, x: Any, context: Any = None) -> tf.Tensor:
        """``-log_prob / (D ln 2)``: ``[N]``, bits; for pixels 0..255 comparable with the papers."""
        return -self.log_prob(x, context) * self.density.bits_per_nat_dim

    def score(self, x: Any, context: Any = None) -> dict[str, tf.Tensor]:
        """`log_prob` for data that may hold bad rows, as the serving signature of this name.

        Returns:
            ``log_prob`` ``[N]``, the lowest finite float where a row (or its context) holds NaN or
            infinity; ``valid`` ``[N]`` bool; for images also ``bits_per_dim`` ``[N]``.

        Raises:
            ValueError: On wrong shapes or types.
        """
        x, context = self._rows(x, context, finite=False)
        return self._row_function("score_rows")(*_present(x, context))

    def sample(
        self, n: int | None = None, context: Any = None, temperature: Any = 1.0, seed: Any = None
    ) -> tf.Tensor:
        """Samples in raw units.

        Args:
            n: Number of samples; may be left out if `context` or `seed` has rows.
            context: ``[n, size]`` or one vector for all, if the flow is conditional.
            temperature: Scales the base's noise; one number or ``[n]``. Below 1: likelier samples.
            seed: An int, or int64 ``[n]``: one seed per row (see `flowzoo.random.row_seeds`). The same seed
                gives the same sample in Keras, in TF Serving and in ONNX Runtime. None draws other samples
                at each call, in an order that `keras.utils.set_random_seed` fixes.

        Returns:
            ``[n, *event_shape]``. Discrete data come as continuous values in their steps: take
            ``tf.floor`` for whole pixels.

        Raises:
            ValueError: If the counts do not agree, seed or temperature are not numbers, or a temperature is
                negative or not finite.
        """
        n = validation.sample_count(n, context, self.context_shape, seed)
        if seed is None:
            seed = _fresh_seeds(n)
        elif validation.as_numbers(seed, n, "seed", whole=True).ndim == 0:
            seed = random.row_seeds(int(seed), n)
        temperatures = validation.as_numbers(temperature, n, "temperature")
        validation.check_temperature(temperatures)
        if temperatures.ndim == 0:
            temperature = _repeated(float(temperature), n, self.variable_dtype)
        # A tensor stays as it is: making one takes as long as the samples of a small flow.
        seeds, temperature = _tensor(seed, tf.int64), _tensor(temperature, self.variable_dtype)
        context = validation.as_context(context, self.context_shape, n, self.variable_dtype, is_single=True)
        return self._row_function("sample_rows")(*_present(seeds, temperature, context))

    def encode(self, x: Any, context: Any = None) -> tf.Tensor:
        """Latents ``[N, *latent_shape]`` of raw data ``[N, *event_shape]``."""
        x, context = self._rows(x, context)
        return self._row_function("encode_rows")(*_present(x, context))

    def decode(self, z: Any, context: Any = None) -> tf.Tensor:
        """Raw data ``[N, *event_shape]`` of latents ``[N, *latent_shape]``."""
        z = validation.as_rows(z, self.latent_shape, self.variable_dtype, "z")
        context = validation.as_context(context, self.context_shape, z.shape[0], self.variable_dtype)
        return self._row_function("decode_rows")(*_present(z, context))

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the columns of a row, or None."""
        return self.density.columns

    @columns.setter
    def columns(self, names: Sequence[str] | None) -> None:
        if names is not None:
            names = tuple(str(name) for name in names)
            if self.event_shape != (len(names),) or len(set(names)) != len(names):
                raise ValueError(
                    f"columns must be one name for each column of rows {self.event_shape}, all different; "
                    f"got {names}."
                )
        self.density.columns = names

    def _rows(self, x, context, finite=True):
        x, context = self._from_frames(x, context)
        x = validation.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = validation.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        if finite and tf.executing_eagerly():
            validation.check_finite(x, "x")
            if context is not None:
                validation.check_finite(context, "context")
        return x, context

    def _row_function(self, method):
        """A method of the density, compiled and run in chunks."""
        key = (method, self.use_xla)
        if key not in self._row_functions:
            chunk = rows_per_chunk(self.event_shape, 8192)
            places = math.prod(self.event_shape[:-1]) if self.density.convnets() else 1
            self._row_functions[key] = RowFunction(
                getattr(self.density, method), chunk, self.use_xla, self.count_params(), places
            )
        return self._row_functions[key]

    # -- Keras -----------------------------------------------------------------------------
    def call(self, inputs: Any, context: Any = None, training: bool = False) -> tf.Tensor:
        """Log-densities ``[N]`` of `x`, of a pair ``(x, context)``, or of x with a context."""
        if isinstance(inputs, (tuple, list)) and context is None:
            inputs, context = (inputs[0], None) if len(inputs) == 1 else inputs
        x = validation.as_rows(inputs, self.event_shape, self.variable_dtype, "x")
        context = validation.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return self.density.log_density(x, context, training)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """One number per row."""
        return (input_shape[0],)

    # -- saving ----------------------------------------------------------------------------
    def save_to_preset(self, directory: str | os.PathLike, metadata: dict | None = None) -> None:
        """Writes a preset directory, for `flowzoo.from_pretrained`: config, weights, metadata.

        Args:
            directory: Where to write; a preset that is there already is replaced.
            metadata: Further entries of ``metadata.json``.

        Raises:
            ValueError: If the flow was not built from the registry, or the directory holds something else.
        """
        from flowzoo.storage.presets import write_preset

        write_preset(self, directory, metadata)

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

            return export_saved_model(self.density, filepath, **kwargs)
        if format == "onnx":
            from flowzoo.export import export_onnx

            return export_onnx(self.density, filepath, **kwargs)
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
            "columns": None if self.columns is None else list(self.columns),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Flow:
        """Builds the flow that `get_config` described."""

        def deserialize(value):
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)

        config = dict(config)
        config["dtype"] = deserialize(config["dtype"])
        config["base"] = deserialize(config["base"])
        for key in ("transforms", "preprocessing"):
            config[key] = [deserialize(layer) for layer in config[key]]
        return cls(**config)


def _fresh_seeds(n):
    """Seeds ``[n]`` that differ at each call."""
    if tf.executing_eagerly():
        return random.row_seeds(random.fresh_seed(), n)
    # In a trace a seed from Python would be a constant.
    return tf.random.uniform([n], maxval=tf.int64.max, dtype=tf.int64)


@functools.lru_cache(maxsize=2)
def _repeated(number, rows, dtype):
    """``[rows]`` times a number; cached, because making it takes as long as the samples of a small flow."""
    with tf.init_scope():
        return tf.constant(np.full([rows], number), dtype)


def _tensor(numbers, dtype):
    return tf.cast(numbers, dtype) if tf.is_tensor(numbers) else tf.constant(numbers, dtype)


def _present(*tensors):
    return [tensor for tensor in tensors if tensor is not None]
