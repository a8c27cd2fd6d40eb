import math

import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow
from flowzoo.layers import Dequantize, Logit
from flowzoo.recipes.evaluation import evaluate


def batches(*arrays, size=7):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(size)


def test_evaluate_returns_the_mean_and_its_standard_error(rng):
    flow = Flow([], (2,))
    x = rng.normal(size=(50, 2)).astype(np.float32)
    nll = -flow.log_prob(x).numpy().astype(np.float64)
    result = evaluate(flow, batches(x))
    assert set(result) == {"rows", "nll", "nll_se"}
    assert result["rows"] == 50
    assert result["nll"] == pytest.approx(nll.mean(), rel=1e-6)
    assert result["nll_se"] == pytest.approx(nll.std() / math.sqrt(50), rel=1e-6)


def test_images_get_bits_per_dim(rng):
    flow = Flow([], (4, 4, 1), preprocessing=[Dequantize(), Logit()])
    x = rng.integers(0, 256, (9, 4, 4, 1))
    result = evaluate(flow, batches(x))
    assert result["bits_per_dim"] == pytest.approx(float(np.mean(flow.bits_per_dim(x))), rel=1e-5)
    assert result["bits_per_dim_se"] == pytest.approx(result["nll_se"] / (16 * math.log(2)), rel=1e-9)


def test_conditional_flows_are_evaluated_on_pairs(rng):
    flow = flowzoo.create_model("realnvp", (2,), (3,), steps=1, hidden_units=(4,))
    flow.use_xla = False
    x, context = rng.normal(size=(10, 2)), rng.normal(size=(10, 3))
    wanted = -np.mean(flow.log_prob(x, context))
    assert evaluate(flow, batches(x, context))["nll"] == pytest.approx(wanted, rel=1e-5)


def test_a_density_that_is_not_finite_is_reported_with_its_row():
    x = np.zeros((7, 2), np.float32)
    x[4] = 3e38
    with pytest.raises(ValueError, match="density of row 4 of the data is not finite"):
        evaluate(Flow([], (2,)), batches(x))


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="the data set holds no rows"):
        evaluate(Flow([], (2,)), batches(np.zeros((0, 2), np.float32)))
