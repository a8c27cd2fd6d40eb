import numpy as np
import pytest
import tensorflow as tf

from flowzoo import Flow
from flowzoo.layers import Logit


def test_pixels_have_a_density_that_integrates_to_one_in_pixel_units():
    flow = Flow([], (2,), preprocessing=[Logit(dtype="float64")], dtype="float64")
    edges = np.linspace(0.0, 256.0, 2001)
    middles = (edges[:-1] + edges[1:]) / 2
    points = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    density = np.exp(flow.density.log_density(tf.constant(points)).numpy())
    assert density.sum() * (256.0 / 2000) ** 2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("arguments", [(1.0, 1.0, 0.1), (0.0, 1.0, 0.0), (0.0, 1.0, 0.5)])
def test_logit_refuses_an_empty_interval_or_margin(arguments):
    with pytest.raises(ValueError, match="low < high and 0 < margin"):
        Logit(*arguments)
