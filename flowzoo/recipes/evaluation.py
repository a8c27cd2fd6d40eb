"""evaluate: mean negative log-likelihood of a data set with its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from flowzoo.data.moments import Moments

if TYPE_CHECKING:
    from flowzoo.flow import Flow


def evaluate(flow: Flow, dataset: tf.data.Dataset) -> dict[str, float]:
    """Mean negative log-likelihood of a data set, one batch at a time.

    Args:
        flow: A flow.
        dataset: Batches of x, or of (x, context) for a conditional flow.

    Returns:
        ``rows``; ``nll`` (nats per row) and its standard error ``nll_se``; for images also ``bits_per_dim``
        and ``bits_per_dim_se``.

    Raises:
        ValueError: If there are no rows, or the density of one is not finite.
    """
    moments = Moments((1,))
    for batch in dataset:
        x, context = batch if isinstance(batch, tuple) else (batch, None)
        log_prob = flow.log_prob(x, context).numpy()
        finite = np.isfinite(log_prob)
        if not finite.all():
            raise ValueError(
                f"The density of row {moments.count + int(finite.argmin())} of the data is not finite. "
                "Check it for extreme values, such as placeholders for missing ones."
            )
        moments.update(-log_prob[:, None])
    moments.check("the data set")
    mean = float(moments.mean[0])
    error = math.sqrt(float(moments.variance[0]) / moments.count)
    result = {"rows": moments.count, "nll": mean, "nll_se": error}
    if flow.is_image:
        bits = math.prod(flow.event_shape) * math.log(2)
        result |= {"bits_per_dim": mean / bits, "bits_per_dim_se": error / bits}
    return result
