"""CouplingLayer, the base class of couplings, and AffineCoupling, the layer of RealNVP, NICE and Glow."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo.bijectors import Affine, CheckerboardSplit, Coupling, FusedBijector, HalfSplit, bounded_log_scale
from flowzoo.conditioners import Conditioner
from flowzoo.layers.conditioned import ConditionedLayer

_MASKS = ("half", "checkerboard")


class CouplingLayer(ConditionedLayer):
    """One part of the event sets the map of the other part through a network.

    A subclass implements `parameters_per_element` and `transformer`.

    Args:
        conditioner: Network that predicts the parameters of the map (an `MLP` for vectors, a `ConvNet` for
            images).
        mask: "half" splits the last axis (columns or channels), "checkerboard" the pixels.
        swap: False conditions on the first half (or the black pixels), True on the second (or the white).
    """

    def __init__(self, conditioner: Conditioner, mask: str = "half", swap: bool = False, **kwargs):
        super().__init__(conditioner, **kwargs)
        if mask not in _MASKS:
            raise ValueError(f"mask must be one of {_MASKS}; got {mask!r}.")
        self.mask = mask
        self.swap = swap

    @property
    def parameters_per_element(self) -> int:
        """Number of parameters that the conditioner predicts per element of the transformed part."""
        raise NotImplementedError

    def transformer(self, parameters: tf.Tensor, event_shape: tuple) -> FusedBijector:
        """The map of the transformed part.

        Args:
            parameters: ``[..., *event_shape[:-1], parameters_per_element * event_shape[-1]]``.
            event_shape: Event shape of the transformed part.
        """
        raise NotImplementedError

    def create_weights(self, event_shape, context_shape):
        self._check_event_shape(event_shape)
        split = HalfSplit if self.mask == "half" else CheckerboardSplit
        self.split = split(event_shape[-1], self.swap)
        self.identity_shape, self.transformed_shape = self.split.shapes(event_shape)
        *outer, last = self.transformed_shape
        self.conditioner.build(
            (None, *self.identity_shape),
            output_shape=(None, *outer, last * self.parameters_per_element),
            context_shape=None if context_shape is None else (None, *context_shape),
        )

    def _check_event_shape(self, event_shape):
        if self.mask == "checkerboard":
            if len(event_shape) != 3 or event_shape[0] % 2 or event_shape[1] % 2:
                raise ValueError(
                    f"A checkerboard needs images (H, W, C) of even height and width; got {event_shape}. "
                    "Pad or crop the images, or use fewer levels."
                )
        elif event_shape[-1] < 2:
            raise ValueError(
                f"A coupling needs at least 2 columns (or channels) to split; got {event_shape}."
            )

    def bijector(self, context=None, training=False):
        def transformer(identity):
            parameters = self.conditioner(identity, context=context, training=training)
            return self.transformer(tf.cast(parameters, self.variable_dtype), self.transformed_shape)

        return Coupling(self.split, transformer, self.event_shape, dtype=self.variable_dtype, name=self.name)

    def get_config(self):
        return {
            **super().get_config(),
            "mask": self.mask,
            "swap": self.swap,
        }


@keras.saving.register_keras_serializable("flowzoo")
class AffineCoupling(CouplingLayer):
    """``x_b = z_b * exp(s(x_a)) + t(x_a)`` with ``x_a = z_a`` (Dinh et al. 2017, equations 7 and 8).

    Args:
        conditioner: Network that predicts s and t (an `MLP` for vectors, a `ConvNet` for images).
        mask: "half" splits the last axis (columns or channels), "checkerboard" the pixels.
        swap: False conditions on the first half (or the black pixels), True on the second (or the white).
        scale_bound: Symmetric bound of s, by a tanh; 0 gives an additive coupling (NICE). Unbounded scales
            diverge to NaN, and one-sided bounds cannot concentrate a density.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        mask: str = "half",
        swap: bool = False,
        scale_bound: float = 3.0,
        **kwargs,
    ):
        super().__init__(conditioner, mask, swap, **kwargs)
        if scale_bound < 0:
            raise ValueError(f"scale_bound must be >= 0; got {scale_bound}.")
        self.scale_bound = float(scale_bound)

    @property
    def parameters_per_element(self):
        return 2 if self.scale_bound else 1

    def transformer(self, parameters, event_shape):
        shift, log_scale = parameters, None
        if self.scale_bound:
            shift, raw = tf.split(parameters, 2, axis=-1)
            log_scale = bounded_log_scale(raw, self.scale_bound)
        return Affine(shift, log_scale, event_shape, dtype=self.variable_dtype)

    def get_config(self):
        return {**super().get_config(), "scale_bound": self.scale_bound}
