"""Flow: a Keras model that is a density: log_prob, sample, encode, decode, adapt, fit, save, export."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import adapt, bases, bijectors, checks, random
from flowzoo.batching import RowFunction
from flowzoo.layers import Dequantize, FlowLayer


@keras.saving.register_keras_serializable("flowzoo")
class Flow(keras.Model):
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
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.event_shape = tuple(int(size) for size in event_shape)
        self.context_shape = None if context_shape is None else tuple(int(s) for s in context_shape)
        self.transforms = list(transforms)
        self.preprocessing = list(preprocessing)
        self.base = bases.Normal() if base is None else base
        self.architecture = architecture
        self.options = options
        if any(isinstance(layer, Dequantize) for layer in [*self.preprocessing[1:], *self.transforms]):
            raise ValueError("Dequantize takes the raw data: it can only be the first preprocessing layer.")
        self._row_functions: dict[str, RowFunction] = {}
        self._trackers = [keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="nll")]
        if self.is_image:
            self._trackers.append(keras.metrics.Mean(name="bits_per_dim"))
        self.build((None, *self.event_shape))

    # -- shape and state -------------------------------------------------------------------
    def build(self, input_shape=None):
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
    def is_image(self) -> bool:
        """Whether rows are images, so that bits per dimension mean something."""
        return len(self.event_shape) == 3

    @property
    def input_dtype(self) -> str:
        """Dtype of raw data in a serving signature: uint8 for whole pixels, else float32."""
        discrete = self.preprocessing and isinstance(self.preprocessing[0], Dequantize)
        return "uint8" if self.is_image and discrete else self.variable_dtype

    @property
    def prefers_xla(self) -> bool:
        """XLA by default? Measured on CPUs: faster for vectors, slower where convolutions do the work."""
        return not self.is_image or bool(tf.config.list_physical_devices("GPU"))

    # -- the density -----------------------------------------------------------------------
    def bijector(self, context=None, training: bool = False) -> bijectors.Chain:
        """The whole flow as one TFP bijector: forward = latents to raw data.

        Throw-away: it holds the current values of the weights, for this context.
        """
        parts = [layer.bijector(context, training) for layer in self.flow_layers]
        return bijectors.Chain(parts, self.event_shape, dtype=self.variable_dtype, name=self.name)

    def distribution(self, context=None) -> tfp.distributions.TransformedDistribution:
        """The flow as a TFP distribution, for everything that TFP does with one.

        It is the continuous density: `Dequantize` adds no noise here.

        Args:
            context: ``[N, size]``; the distribution then has batch shape ``[N]``.
        """
        context = checks.as_context(context, self.context_shape, None, self.variable_dtype)
        return tfp.distributions.TransformedDistribution(
            self.base.distribution(context), self.bijector(context), name=self.name
        )

    def preprocess(self, x: tf.Tensor, stop: int | None = None, noise_seed=None) -> tf.Tensor:
        """Rows as the transforms see them, or as preprocessing layer `stop` sees them."""
        x = self.dequantize(x, noise_seed)
        for layer in self.preprocessing[:stop]:
            x = layer.bijector().inverse(x)
        return x

    def dequantize(self, x: tf.Tensor, noise_seed=None) -> tf.Tensor:
        """Raw rows with `Dequantize`'s noise, if there is that layer: the row's own, or new noise."""
        if self.preprocessing and isinstance(self.preprocessing[0], Dequantize):
            return self.preprocessing[0].noisy(x, noise_seed)
        return x

    def log_density(self, x, context=None, training: bool = False, noise_seed=None) -> tf.Tensor:
        """Log-density of tensors ``[N, *event_shape]`` of the flow's dtype, unchecked; for traces."""
        z, log_det = self.bijector(context, training).inverse_and_log_det(self.dequantize(x, noise_seed))
        return self.base.log_prob(z, context) + log_det

    # -- what users call -------------------------------------------------------------------
    def log_prob(self, x, context=None) -> tf.Tensor:
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

    def bits_per_dim(self, x, context=None) -> tf.Tensor:
        """``-log_prob / (D ln 2)``: ``[N]``, bits; for pixels 0..255 comparable with the papers."""
        return self.log_prob(x, context) * self._bits

    def score(self, x, context=None) -> dict[str, tf.Tensor]:
        """`log_prob` for data that may hold bad rows, as the serving signature of this name does.

        Returns:
            ``log_prob`` ``[N]``, the lowest finite float where a row (or its context) holds NaN or
            infinity; ``valid`` ``[N]`` bool; for images ``bits_per_dim`` ``[N]`` too.
        """
        x, context = self._rows(x, context, finite=False)
        return self._row_function("score", self.score_rows)(*_present(x, context))

    def sample(self, n: int | None = None, context=None, temperature=1.0, seed=0) -> tf.Tensor:
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
            ValueError: If the counts do not agree.
        """
        n = self._sample_count(n, context, seed)
        seeds = random.row_seeds(seed, n) if np.ndim(seed) == 0 else seed
        seeds = tf.ensure_shape(tf.cast(seeds, tf.int64), [n])
        temperature = tf.broadcast_to(tf.cast(temperature, self.variable_dtype), [n])
        context = checks.as_context(context, self.context_shape, n, self.variable_dtype)
        return self._row_function("sample", self.sample_rows)(*_present(seeds, temperature, context))

    def encode(self, x, context=None) -> tf.Tensor:
        """Latents ``[N, *latent_shape]`` of raw data ``[N, *event_shape]``."""
        x, context = self._rows(x, context)
        return self._row_function("encode", self.encode_rows)(*_present(x, context))

    def decode(self, z, context=None) -> tf.Tensor:
        """Raw data ``[N, *event_shape]`` of latents ``[N, *latent_shape]``."""
        z = checks.as_rows(z, self.latent_shape, self.variable_dtype, "z")
        context = checks.as_context(context, self.context_shape, z.shape[0], self.variable_dtype)
        return self._row_function("decode", self.decode_rows)(*_present(z, context))

    # -- the same on checked tensors: what the methods above compile and `export` traces ---------
    def score_rows(self, x, context=None) -> dict[str, tf.Tensor]:
        """See `score`; tensors of the flow's dtype."""
        valid = _finite_rows(x) if context is None else _finite_rows(x) & _finite_rows(context)
        log_prob = self.log_density(_without_bad(x), None if context is None else _without_bad(context))
        valid &= tf.math.is_finite(log_prob)
        log_prob = tf.where(valid, log_prob, log_prob.dtype.min)
        if not self.is_image:
            return {"log_prob": log_prob, "valid": valid}
        bits = tf.where(valid, log_prob * self._bits, log_prob.dtype.max)
        return {"log_prob": log_prob, "bits_per_dim": bits, "valid": valid}

    def sample_rows(self, seeds, temperature, context=None) -> tf.Tensor:
        """See `sample`: seeds ``[N]`` int64, temperature ``[N]``."""
        return self.decode_rows(self.base.sample(seeds, temperature, context), context)

    def encode_rows(self, x, context=None) -> tf.Tensor:
        """See `encode`; tensors of the flow's dtype."""
        return self.bijector(context).inverse_and_log_det(self.dequantize(x))[0]

    def decode_rows(self, z, context=None) -> tf.Tensor:
        """See `decode`; tensors of the flow's dtype."""
        return self.bijector(context).forward_and_log_det(z)[0]

    @property
    def _bits(self) -> float:
        """Factor from log-densities in nats to bits per dimension."""
        return -1.0 / (math.prod(self.event_shape) * math.log(2.0))

    def _rows(self, x, context, finite: bool = True):
        x = checks.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        if finite and tf.executing_eagerly():
            checks.check_finite(x, "x")
            if context is not None:
                checks.check_finite(context, "context")
        return x, context

    def _sample_count(self, n, context, seed):
        known = {"n": n}
        if np.ndim(seed) == 1:
            known["seed"] = len(seed)
        if context is not None and self.context_shape and np.ndim(context) > len(self.context_shape):
            known["context"] = len(context)
        counts = {count for count in known.values() if count is not None}
        if len(counts) != 1:
            raise ValueError(f"sample needs one number of samples; got {known}.")
        (count,) = counts
        if count < 0:
            raise ValueError(f"n must be >= 0; got {count}.")
        return int(count)

    def _row_function(self, key, function) -> RowFunction:
        if key not in self._row_functions:
            rows = 2**19 // math.prod(self.event_shape)
            chunk = 1 << min(max(rows, 64), 8192).bit_length() - 1
            self._row_functions[key] = RowFunction(function, chunk, self.prefers_xla)
        return self._row_functions[key]

    # -- Keras -----------------------------------------------------------------------------
    def call(self, inputs, context=None, training=False):
        """Log-densities ``[N]`` of `x`, of a pair ``(x, context)``, or of x with a context."""
        if isinstance(inputs, (tuple, list)) and context is None:
            inputs, context = (inputs[0], None) if len(inputs) == 1 else inputs
        x = checks.as_rows(inputs, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return self.log_density(x, context, training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0],)

    def adapt(self, x, context=None, batch_size: int | None = None, max_batches: int | None = None) -> None:
        """Sets what is learned from data without gradients: standardisation, actnorm.

        Reads the data once (twice behind `Dequantize`), whatever their size, and checks every row.

        Args:
            x: Array ``[N, *event_shape]``, `tf.data.Dataset` of batches (or of pairs), or `PyDataset`.
            context: Array ``[N, size]``, for a conditional flow and arrays.
            batch_size: For arrays.
            max_batches: Read no further; an endless dataset is read for 1000 batches.

        Raises:
            ValueError: On wrong shapes, no rows, NaN or infinity, constant columns, pixels out of range.
        """
        adapt.adapt(
            self, x, context, batch_size=batch_size or self._batch_size, max_batches=max_batches
        )

    @property
    def _batch_size(self) -> int:
        return 64 if self.is_image else 512

    def compile(self, optimizer="auto", *, jit_compile="auto", **kwargs):
        """Keras's compile; every argument has a default.

        Args:
            optimizer: "auto" is Adam at 1e-3 with the global gradient norm bounded.
            jit_compile: "auto" is `prefers_xla`.
            **kwargs: As in `keras.Model.compile`; the loss is the negative log-likelihood.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0 if self.is_image else 5.0)
        if kwargs.pop("loss", None) is not None:
            raise ValueError("A flow's loss is its negative log-likelihood; leave loss out.")
        jit_compile = self.prefers_xla if jit_compile == "auto" else jit_compile
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def fit(self, x=None, context=None, batch_size=None, epochs=1, **kwargs):
        """Keras's fit: maximum likelihood on raw data; adapts first if that has not been done.

        Args:
            x: Array ``[N, *event_shape]``, or a `tf.data.Dataset` of batches: x, or (x, context).
            context: Array ``[N, size]``, for a conditional flow and arrays.
            batch_size: For arrays; 512 rows, or 64 images, by default.
            epochs: As in Keras.
            **kwargs: As in `keras.Model.fit` (``validation_data``, ``callbacks``, ...).

        Returns:
            Keras's history, with ``nll`` (nats a row) and for images ``bits_per_dim``.

        Raises:
            ValueError: Before the first step, if the data cannot be trained on.
        """
        context = kwargs.pop("y", context)
        if not self.compiled:
            self.compile()
        batch_size = batch_size or (None if _carries_batches(x) else self._batch_size)
        if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or not _carries_batches(x):
            check = adapt.check_data if self.adapted.numpy() else adapt.adapt
            steps = kwargs.get("steps_per_epoch")
            check(self, x, context, batch_size=batch_size or self._batch_size, max_batches=steps)
        return super().fit(x, context, batch_size=batch_size, epochs=epochs, **kwargs)

    def evaluate(self, x=None, context=None, batch_size=None, **kwargs):
        """Keras's evaluate: mean loss, nll (nats) and, for images, bits per dimension."""
        context = kwargs.pop("y", context)
        if not self.compiled:
            self.compile()
        batch_size = batch_size or (None if _carries_batches(x) else self._batch_size)
        return super().evaluate(x, context, batch_size=batch_size, **kwargs)

    @property
    def metrics(self):
        return self._trackers

    def train_step(self, data):
        x, context, weight = self._unpack(data)
        with tf.GradientTape() as tape:
            nll = -self.log_density(x, context, training=True, noise_seed=self._noise_seed())
            loss = self._mean(nll, weight) * self._loss_scale
            if self.losses:
                loss += tf.add_n([tf.cast(value, loss.dtype) for value in self.losses])
            scaled = self.optimizer.scale_loss(loss)
        variables = [variable.value for variable in self.trainable_variables]
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._logs(loss, nll, weight)

    def test_step(self, data):
        x, context, weight = self._unpack(data)
        nll = -self.log_density(x, context)
        return self._logs(self._mean(nll, weight) * self._loss_scale, nll, weight)

    def _unpack(self, data):
        x, context, weight = keras.utils.unpack_x_y_sample_weight(data)
        x = checks.as_rows(x, self.event_shape, self.variable_dtype, "x")
        context = checks.as_context(context, self.context_shape, x.shape[0], self.variable_dtype)
        return x, context, None if weight is None else tf.cast(weight, x.dtype)

    def _noise_seed(self):
        """A function of the step, so that a resumed run draws what the whole run would have drawn."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.stack([tf.cast(replica, tf.int32), tf.cast(self.optimizer.iterations.value, tf.int32)])

    @property
    def _loss_scale(self) -> float:
        """Images train on bits per dimension: gradients then have one size for all image sizes."""
        return -self._bits if self.is_image else 1.0

    @staticmethod
    def _mean(values, weight):
        if weight is None:
            return tf.reduce_mean(values)
        return tf.math.divide_no_nan(tf.reduce_sum(values * weight), tf.reduce_sum(weight))

    def _logs(self, loss, nll, weight):
        loss_tracker, nll_tracker, *bits_tracker = self._trackers
        loss_tracker.update_state(loss, sample_weight=tf.cast(tf.shape(nll)[0], nll.dtype))
        nll_tracker.update_state(nll, sample_weight=weight)
        for tracker in bits_tracker:
            tracker.update_state(nll * -self._bits, sample_weight=weight)
        return {tracker.name: tracker.result() for tracker in self._trackers}

    # -- saving ----------------------------------------------------------------------------
    def save_to_preset(self, directory, metadata: dict | None = None) -> None:
        """Writes a preset directory, for `flowzoo.from_pretrained`: config, weights, metadata."""
        from flowzoo.presets import save_preset

        save_preset(self, directory, metadata)

    def export(self, filepath, format: str = "tf_saved_model", **kwargs):
        """Writes ``filepath/<next version>/`` for TF Serving; returns its path.

        Signatures: ``log_prob`` (also ``serving_default``), ``score``, ``sample``, ``encode``, ``decode``.

        Args:
            filepath: The model's base directory.
            format: "tf_saved_model".
            **kwargs: See `flowzoo.export.export_saved_model`.

        Raises:
            ValueError: On an unknown format.
        """
        if format != "tf_saved_model":
            raise ValueError(f"format must be 'tf_saved_model'; got {format!r}.")
        from flowzoo.export import export_saved_model

        return export_saved_model(self, filepath, **kwargs)

    def get_config(self):
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
    def from_config(cls, config, custom_objects=None):
        def deserialize(value):
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)

        config = dict(config)
        config["dtype"] = deserialize(config["dtype"])
        config["base"] = deserialize(config["base"])
        for key in ("transforms", "preprocessing"):
            config[key] = [deserialize(layer) for layer in config[key]]
        return cls(**config)


def _present(*tensors):
    return [tensor for tensor in tensors if tensor is not None]


def _carries_batches(x) -> bool:
    """Whether `x` yields batches itself, so that a batch size makes no sense."""
    return isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or not hasattr(x, "__len__")


def _finite_rows(x):
    return tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank)))


def _without_bad(x):
    """Non-finite entries as zeros, so that a bad row costs nothing but itself."""
    return tf.where(tf.math.is_finite(x), x, tf.zeros_like(x))
