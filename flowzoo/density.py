"""Density: the mathematics of a flow on tensors of its dtype, pure and unchecked; for use inside traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo import bijectors, random
from flowzoo.backend.sharding import draw_rows
from flowzoo.bases import Base
from flowzoo.conditioners import Conditioner, ConvNet
from flowzoo.data.outliers import FAR
from flowzoo.layers import FlowLayer
from flowzoo.layers.preprocessing import Preprocessing


class Density:
    """Preprocessing, transforms and a base: the density of raw rows.

    It reads the current weights of its layers at each call and checks nothing. `Flow` checks what users pass,
    and compiles; training and export trace these methods directly. Not a Keras object: its layers belong to
    the `Flow`.

    Args:
        transforms: Flow layers, data side first.
        event_shape: Shape of one row of raw data.
        context_shape: ``(size,)`` of the context vectors, or None.
        preprocessing: Preprocessing layers, before the transforms.
        base: Base distribution of the latents.
        dtype: Floating dtype of rows and densities.
        name: Name of the flow.
        architecture: Registry name of the architecture; None if the layers were assembled by hand.

    Attributes:
        columns: Names of the columns of a row, or None.

    Raises:
        ValueError: If a preprocessing layer with discrete steps is not the first layer.
    """

    def __init__(
        self,
        transforms: Sequence[FlowLayer],
        event_shape: tuple[int, ...],
        context_shape: tuple[int, ...] | None = None,
        *,
        preprocessing: Sequence[FlowLayer] = (),
        base: Base,
        dtype: str,
        name: str = "flow",
        architecture: str | None = None,
    ):
        self.transforms, self.preprocessing = tuple(transforms), tuple(preprocessing)
        self.event_shape, self.context_shape = event_shape, context_shape
        self.base, self.dtype, self.name, self.architecture = base, dtype, name, architecture
        self.columns: tuple[str, ...] | None = None
        for layer in (*self.preprocessing[1:], *self.transforms):
            if isinstance(layer, Preprocessing) and layer.must_be_first:
                kind = type(layer).__name__
                raise ValueError(f"{kind} takes the raw data: it can only be the first preprocessing layer.")

    def build(self) -> None:
        """Creates every weight of the layers and the base."""
        shape = self.event_shape
        context = None if self.context_shape is None else (None, *self.context_shape)
        for layer in self.layers:
            layer.build((None, *shape), context)
            shape = tuple(layer.latent_shape(shape))
        self.base.build((None, *shape), context)

    # -- description -----------------------------------------------------------------------
    @property
    def layers(self) -> tuple[FlowLayer, ...]:
        """Preprocessing and transforms, data side first."""
        return (*self.preprocessing, *self.transforms)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Event shape of the latents."""
        shape = self.event_shape
        for layer in self.layers:
            shape = tuple(layer.latent_shape(shape))
        return shape

    @property
    def weights(self) -> list[Any]:
        """The Keras variables of all layers and of the base."""
        return [weight for layer in (*self.layers, self.base) for weight in layer.weights]

    @property
    def is_image(self) -> bool:
        """Whether rows are images, so that bits per dimension mean something."""
        return len(self.event_shape) == 3

    @property
    def bits_per_nat_dim(self) -> float:
        """``1 / (D ln 2)``: from nats a row to bits per dimension."""
        return 1.0 / (math.prod(self.event_shape) * math.log(2.0))

    @property
    def support(self) -> tuple[float, float] | None:
        """The interval of raw values that the preprocessing takes; None for all numbers."""
        supports = [layer.support for layer in self._preprocessing() if layer.support is not None]
        return supports[0] if supports else None

    @property
    def discrete_steps(self) -> np.ndarray:
        """Width of the step of each element of the event, 0 where it is continuous."""
        steps = [layer.discrete_steps for layer in self._preprocessing() if layer.discrete_steps is not None]
        return steps[0] if steps else np.zeros(self.event_shape)

    @property
    def pixel_levels(self) -> int | None:
        """Number of values of a pixel for flows of whole pixels, 256 for example; else None."""
        return int(self.support[1]) if self.is_image and self.support is not None else None

    @property
    def input_dtype(self) -> str:
        """Dtype of raw data in a serving signature: uint8 for pixels of up to 256 levels, else `dtype`."""
        levels = self.pixel_levels
        whole = bool((self.discrete_steps == 1.0).all())
        return "uint8" if levels is not None and levels <= 256 and whole else self.dtype

    def convnets(self) -> list[ConvNet]:
        """The convolutional conditioners."""
        return [layer for layer in self._sublayers() if isinstance(layer, ConvNet)]

    def penalized_weights(self) -> list[Any]:
        """The kernels of the conditioners, which an L2 penalty is on."""
        found = [layer.penalized for layer in self._sublayers() if isinstance(layer, Conditioner)]
        return [kernel for kernels in found for kernel in kernels]

    def _preprocessing(self):
        return [layer for layer in self.preprocessing if isinstance(layer, Preprocessing)]

    def _sublayers(self):
        return [sublayer for layer in (*self.layers, self.base) for sublayer in layer._flatten_layers()]

    # -- the map ---------------------------------------------------------------------------
    def bijector(self, context: Any = None, training: bool = False) -> bijectors.Chain:
        """The whole flow as one TFP bijector: forward = latents to raw data."""
        return self.chain(self.layers, context, training)

    def chain(
        self, layers: Sequence[FlowLayer], context: Any = None, training: bool = False
    ) -> bijectors.Chain:
        """Some of the layers as one bijector, for example `preprocessing` or `transforms`."""
        return bijectors.Chain(
            [layer.bijector(context, training) for layer in layers],
            self.event_shape,
            dtype=self.dtype,
            name=self.name,
        )

    def split(self, context: Any = None) -> tuple[bijectors.Chain, bijectors.Chain]:
        """The flow in two: what treats the elements of raw data one by one, and what mixes them."""
        transforms = self.chain(self.transforms, context)
        last = self.preprocessing[-1] if self.preprocessing else None
        if isinstance(last, Preprocessing) and (mixing := last.mixing()) is not None:
            entrywise = [*[layer.bijector() for layer in self.preprocessing[:-1]], last.entrywise()]
            return (
                bijectors.Chain(entrywise, self.event_shape, dtype=self.dtype),
                bijectors.Chain([mixing, transforms], self.event_shape, dtype=self.dtype),
            )
        return self.chain(self.preprocessing), transforms

    def distribution(self, context: Any = None) -> tfp.distributions.TransformedDistribution:
        """The flow as a TFP distribution: the continuous density, without dequantization noise."""
        return tfp.distributions.TransformedDistribution(
            self.base.distribution(context), self.bijector(context)
        )

    def dequantize(self, x: tf.Tensor, noise_seed: Any = None) -> tf.Tensor:
        """Raw rows with dequantization noise, if there are discrete steps.

        Args:
            x: ``[N, *event_shape]``.
            noise_seed: int32 ``[2]`` for fresh noise; None for noise that is a function of the row.
        """
        first = self._preprocessing()[:1]
        return first[0].dequantize(x, noise_seed) if first else x

    def preprocess(self, x: tf.Tensor, stop: int | None = None, noise_seed: Any = None) -> tf.Tensor:
        """Rows as the transforms see them, or as preprocessing layer `stop` sees them."""
        x = self.dequantize(x, noise_seed)
        for layer in self.preprocessing[:stop]:
            x = layer.bijector().inverse(x)
        return x

    def is_far(self, x: tf.Tensor) -> tf.Tensor:
        """Whether rows ``[N, D]`` hold a value more than `FAR` standard deviations out, ``[N]``.

        Never without a preprocessing layer that has learned the scale of the data.
        """
        if all(layer.moments == "none" for layer in self._preprocessing()):
            return tf.zeros(tf.shape(x)[:1], bool)
        entrywise, _ = self.split()
        return tf.reduce_any(tf.abs(entrywise.inverse(x)) > FAR, axis=list(range(1, x.shape.rank)))

    def to_latents(self, x: tf.Tensor, context: Any = None, training: bool = False) -> tuple:
        """Latents and log-det of dequantized rows."""
        return self.bijector(context, training).inverse_and_log_det(x)

    # -- densities and samples -------------------------------------------------------------
    def log_density(
        self,
        x: tf.Tensor,
        context: Any = None,
        training: bool = False,
        noise_seed: Any = None,
        blur: float = 0.0,
    ) -> tf.Tensor:
        """Log-density ``[N]`` in nats of rows ``[N, *event_shape]``.

        Args:
            x: Raw rows.
            context: ``[N, size]`` or None.
            training: Whether conditioners drop units out.
            noise_seed: int32 ``[2]`` for fresh dequantization noise; None for noise that is a function of the
                row.
            blur: With a seed, standard deviation of Gaussian noise that moves each row, where the transforms
                see it.
        """
        x = self.dequantize(x, noise_seed)
        if blur and noise_seed is not None:
            x = self._blurred(x, noise_seed, blur)
        z, log_det = self.to_latents(x, context, training)
        return self.base.log_prob(z, context) + log_det

    def _blurred(self, x, noise_seed, blur):
        """Rows moved by Gaussian noise, behind preprocessing: where all columns have one scale."""
        preprocessing = self.chain(self.preprocessing)
        # Another seed: with the same one the bits would be those of the dequantization noise.
        seed = tf.random.experimental.stateless_fold_in(noise_seed, 1)
        noise = draw_rows(
            lambda rows: tf.random.stateless_normal(
                [rows, *self.event_shape], seed, dtype=x.dtype, alg=random.ALGORITHM
            ),
            tf.shape(x)[0],
        )
        return preprocessing.forward(preprocessing.inverse(x) + blur * noise)

    def score_rows(self, x: tf.Tensor, context: Any = None) -> dict[str, tf.Tensor]:
        """Densities of rows that may hold NaN or infinity; see `Flow.score`."""
        valid = _finite_rows(x) if context is None else _finite_rows(x) & _finite_rows(context)
        log_prob = self.log_density(_finite_or_zero(x), None if context is None else _finite_or_zero(context))
        valid &= tf.math.is_finite(log_prob)
        log_prob = tf.where(valid, log_prob, log_prob.dtype.min)
        if not self.is_image:
            return {"log_prob": log_prob, "valid": valid}
        bits = tf.where(valid, -log_prob * self.bits_per_nat_dim, log_prob.dtype.max)
        return {"log_prob": log_prob, "bits_per_dim": bits, "valid": valid}

    def sample_rows(self, seeds: tf.Tensor, temperature: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Samples ``[N, *event_shape]`` for int64 seeds ``[N]`` and temperatures ``[N]``."""
        return self.decode_rows(self.base.sample(seeds, temperature, context), context)

    def encode_rows(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Latents ``[N, *latent_shape]`` of raw rows."""
        return self.to_latents(self.dequantize(x), context)[0]

    def decode_rows(self, z: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Raw rows ``[N, *event_shape]`` of latents."""
        return self.bijector(context).forward_and_log_det(z)[0]


def _finite_rows(x):
    return tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank)))


def _finite_or_zero(x):
    """Rows with zeros for NaN and infinity, so that a bad row affects no other row."""
    return tf.where(tf.math.is_finite(x), x, tf.zeros_like(x))
