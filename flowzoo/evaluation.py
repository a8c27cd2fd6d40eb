"""Mean density of a data set with its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf

from flowzoo.moments import Moments

if TYPE_CHECKING:
    from flowzoo.flow import Flow


def evaluate(flow: Flow, dataset: tf.data.Dataset) -> dict[str, float]:
    """Streams batches through the flow.

    Args:
        flow: A flow.
        dataset: Batches of x, or of (x, context) for a conditional flow.

    Returns:
        ``rows``; ``nll`` (nats a row) and its standard error ``nll_se``; for images ``bits_per_dim`` and
        ``bits_per_dim_se``.

    Raises:
        ValueError: If there are no rows.
    """
    moments = Moments((1,))
    for batch in dataset:
        x, context = batch if isinstance(batch, tuple) else (batch, None)
        moments.update(-flow.log_prob(x, context).numpy()[:, None])
    moments.check("the data set")
    mean = float(moments.mean[0])
    error = math.sqrt(float(moments.variance[0]) / moments.count)
    result = {"rows": moments.count, "nll": mean, "nll_se": error}
    if flow.is_image:
        bits = math.prod(flow.event_shape) * math.log(2)
        result |= {"bits_per_dim": mean / bits, "bits_per_dim_se": error / bits}
    return result
