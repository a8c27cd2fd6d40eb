"""Radial: rows move towards or away from a centre (Rezende and Mohamed 2015, equation 14)."""

from __future__ import annotations

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector
from flowzoo.bijectors.planar import bounded_slope


class Radial(FusedBijector):
    """K steps ``y = x + beta' (x - center) / (alpha' + r)`` with ``r = |x - center|``, the first nearest to the data.

    ``alpha' = softplus(alpha)`` and ``beta' = m(beta) alpha'`` with ``m > -1`` (see `bounded_slope`), so
    that ``beta' > -alpha'``, which makes a step invertible (appendix A.2), and beta = 0 is the identity. With ``q =
    alpha' / (alpha' + r)`` the log-det is ``(D - 1) log(1 + m q) + log(1 + m q^2)``.

    The paper leaves the other direction to numerical search. It has a closed form: the radius before the
    step is the positive root of ``r^2 + (alpha' (1 + m) - r') r - alpha' r' = 0``.

    Args:
        center: ``[..., K, D]``; leading dimensions broadcast against the rows'.
        alpha: ``[..., K]``, unconstrained.
        beta: ``[..., K]``, unconstrained.
        closed: Which direction is the formula above: "inverse" (data to latent) or "forward".
        dtype: Floating dtype.
        name: Name shown in error messages.

    Example:
        >>> from flowzoo.bijectors import Radial
        >>> radial = Radial([[0.0, 0.0]], [0.5413], [1.0])
        >>> z, _ = radial.inverse_and_log_det([[0.0, 1.0], [0.0, 100.0]])
        >>> z.numpy()
        array([[  0.  ,   1.71],
               [  0.  , 101.4 ]], dtype=float32)
    """

    def __init__(
        self, center, alpha, beta, *, closed: str = "inverse", dtype=tf.float32, name: str | None = None
    ):
        center, alpha, beta = (tf.convert_to_tensor(value, dtype) for value in (center, alpha, beta))
        scalars = tf.stack([tf.nn.softplus(alpha), bounded_slope(beta)], axis=-1)
        ...
