"""SplineCoupling: the layer of neural spline flows (Durkan et al. 2019)."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from flowzoo.bijectors import AsProgram, Chain, Coupling, RationalQuadraticSpline
from flowzoo.conditioners import Conditioner
from flowzoo.layers.coupling import CouplingLayer
from flowzoo.layers.spline import Spline, check_spline


@dataclasses.dataclass(frozen=True)
class _Splines:
    """Makes the splines of the network's outputs ``[..., (3 bins - 1) * channels]``."""

    bins: int
    bound: float
    event_shape: tuple[int, ...]
    dtype: str

    def __call__(self, parameters):
        size = RationalQuadraticSpline.parameters_size(self.bins)
        shape = [*tf.unstack(tf.shape(parameters)[:-1]), size, self.event_shape[-1]]
        return RationalQuadraticSpline(
            tf.reshape(parameters, shape), self.event_shape, bound=self.bound, knots_axis=-2, dtype=self.dtype
        )


@keras.saving.register_keras_serializable("flowzoo")
class SplineCoupling(CouplingLayer):
    """One part of the event sets the monotone splines of the elements of the other part.

    With `identity_spline`, each column (or channel) of the first part also goes through its own spline, which
    has no conditioner. In both directions the network sees the first part on the data side: a density
    computes the parameters from the data and then maps both parts; a sample first inverts the splines of the
    first part and gives the result to the network.

    Args:
        conditioner: Network that predicts the parameters of the splines (an `MLP` or `ResidualMLP` for
            vectors, a `ConvNet` for images).
        mask: "half" splits the last axis (columns or channels), "checkerboard" the pixels.
        swap: False conditions on the first half (or the black pixels), True on the second (or the white).
        bins: Number of bins of each spline.
        bound: The splines act in ``[-bound, bound]``; outside they are the identity.
        identity_spline: Whether the conditioning part gets its own splines.

    Raises:
        ValueError: If there are fewer than two bins, or the bound is not positive.

    References:
        Neural Spline Flows (Durkan, Bekasov, Murray and Papamakarios, 2019), https://arxiv.org/abs/1906.04032

    Example:
        >>> from flowzoo.conditioners import MLP
        >>> from flowzoo.layers import SplineCoupling
        >>> layer = SplineCoupling(MLP((16,)))
        >>> layer.build((None, 4))
        >>> z, log_det = layer.bijector().inverse_and_log_det(tf.ones([5, 4]))
        >>> z.shape.as_list(), log_det.shape.as_list()
        ([5, 4], [5])
    """

    def __init__(
        self,
        conditioner: Conditioner,
        mask: str = "half",
        swap: bool = False,
        bins: int = 8,
        bound: float = 3.0,
        identity_spline: bool = True,
        **kwargs,
    ):
        super().__init__(conditioner, mask, swap, **kwargs)
        check_spline(bins, bound)
        self.bins = int(bins)
        self.bound = float(bound)
        self.identity_spline = identity_spline

    @property
    def parameters_per_element(self):
        return RationalQuadraticSpline.parameters_size(self.bins)

    def create_weights(self, event_shape, context_shape):
        super().create_weights(event_shape, context_shape)
        if self.identity_spline:
            self.spline = Spline(self.bins, self.bound, dtype=self.dtype_policy)
            self.spline.build((None, *self.identity_shape))

    def transformer(self, parameters, event_shape):
        make = _Splines(self.bins, self.bound, tuple(event_shape), self.variable_dtype)
        return AsProgram(make, parameters, event_shape, dtype=self.variable_dtype, name=self.name)

    def bijector(self, context=None, training=False):
        coupling = super().bijector(context, training)
        if not self.identity_spline:
            return coupling
        # On the latent side of the coupling, so that the conditioner sees data.
        other = dataclasses.replace(self.split, swap=not self.split.swap)
        own = Coupling(other, lambda _: self.spline.bijector(), self.event_shape, dtype=self.variable_dtype)
        return Chain([coupling, own], self.event_shape, dtype=self.variable_dtype, name=self.name)

    def get_config(self):
        return {
            **super().get_config(),
            "bins": self.bins,
            "bound": self.bound,
            "identity_spline": self.identity_spline,
        }
