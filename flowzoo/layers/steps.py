"""Steps: the base class of layers of K small maps with learned or context-dependent parameters."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo.bijectors.planar import CLOSED
from flowzoo.conditioners import Conditioner
from flowzoo.layers.conditioned import ConditionedLayer


class Steps(ConditionedLayer):
    """K maps of vectors, one after the other, with few parameters each: `Planar` and `Radial`.

    All steps share one weight per kind of parameter, and one conditioner: in few dimensions, calls cost
    more than the arithmetic. A subclass implements `parameter_weights` and `bijector`.

    Args:
        steps: K, the number of maps.
        closed: The direction that the paper's formula computes: "inverse" (data to latent) or "forward".
        conditioner: Network from the context to an offset of every parameter of every step, which starts at
            zero. Required with a context, and refused without one.
    """

    def __init__(
        self, steps: int = 1, closed: str = "inverse", conditioner: Conditioner | None = None, **kwargs
    ):
        super().__init__(conditioner, **kwargs)
        if steps < 1:
            raise ValueError(f"steps must be at least 1; got {steps}.")
        if closed not in CLOSED:
            raise ValueError(f"closed must be one of {CLOSED}; got {closed!r}.")
        self.steps = steps
        self.closed = closed

    def parameter_weights(self, size: int) -> dict[str, tuple[int, keras.initializers.Initializer]]:
        """For each weight by name: its width per step and its initializer, for vectors of length `size`."""
        raise NotImplementedError

    def create_weights(self, event_shape, context_shape):
        kind = type(self).__name__
        if len(event_shape) != 1:
            raise ValueError(f"{kind} takes vectors (D,); got event shape {event_shape}.")
        if (self.conditioner is None) != (context_shape is None):
            have, lack = (
                ("context", "conditioner") if self.conditioner is None else ("conditioner", "context")
            )
            raise ValueError(
                f"{kind} takes a conditioner and a context, or neither; it has a {have} and no {lack}."
            )
        parts = self.parameter_weights(event_shape[0])
        self._widths = [width for width, _ in parts.values()]
        self._weights_of_steps = [
            self.add_weight(name=name, shape=(self.steps, width), initializer=initializer)
            for name, (width, initializer) in parts.items()
        ]
        if self.conditioner is not None:
            outputs = self.steps * sum(self._widths)
            self.conditioner.build((None, *context_shape), output_shape=(None, outputs))

    def parameters(self, context, training: bool) -> list[tf.Tensor]:
        """The weights in order, ``[steps, width]``, or with a context ``[N, steps, width]``."""
        values = [weight.value for weight in self._weights_of_steps]
        if self.conditioner is None:
            return values
        moves = tf.cast(self.conditioner(context, training=training), self.variable_dtype)
        moves = tf.reshape(moves, [-1, self.steps, sum(self._widths)])
        return [
            value + move for value, move in zip(values, tf.split(moves, self._widths, axis=-1), strict=True)
        ]

    def get_config(self):
        return {**super().get_config(), "steps": self.steps, "closed": self.closed}
