"""EventLayer: the base class of flow layers and bases, built for an event shape and a context shape."""

from __future__ import annotations

import keras


class EventLayer(keras.layers.Layer):
    """A Keras layer that makes all of its weights, and builds all of its sub-layers, in `build`."""

    built: bool

    def __init__(self, **kwargs):
        # Densities stay in the variables' dtype; only conditioners run in the compute dtype.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)

    def build(self, input_shape, context_shape=None):
        """Creates every weight.

        Args:
            input_shape: ``(None, *event_shape)``.
            context_shape: ``(None, size)`` of the context, or None.
        """
        if self.built:
            return
        self.event_shape = tuple(int(size) for size in input_shape[1:])
        self.create_weights(self.event_shape, None if context_shape is None else tuple(context_shape[1:]))
        self.built = True

    def create_weights(self, event_shape: tuple, context_shape: tuple | None) -> None:
        """Creates every weight and builds every sub-layer; shapes are event shapes."""
