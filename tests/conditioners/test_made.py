"""MADE: the dependencies that its masks remove, and the arithmetic that its blocks skip."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import MADE
from flowzoo.testing import perturb


def made(columns, units, parameters=2, context=None):
    keras.utils.set_random_seed(0)
    network = MADE((units, units))
    network.build((None, columns), (None, columns, parameters), None if context is None else (None, context))
    perturb(network, 0.1)
    return network


def by_masks(network, x, context=None):
    """The masked products without blocks, in float64."""
    h, last = x.astype("float64"), len(network.network.masks) - 1
    for i, mask in enumerate(network.network.masks):
        h = h @ (network.kernels[i].numpy() * mask) + network.biases[i].numpy()
        if context is not None and i < last:
            h = h + context @ network.context_kernels[i].numpy()
        h = np.maximum(h, 0.0) if i < last else h
    return h.reshape(len(x), network.network.parameters, network.columns)


@pytest.mark.parametrize(("columns", "units"), [(3, 8), (5, 256), (150, 300), (64, 512), (300, 140)])
@pytest.mark.parametrize("context", [None, 4])
def test_blocks_give_the_whole_product(rng, columns, units, context):
    network = made(columns, units, context=context)
    x = rng.normal(size=(6, columns)).astype("float32")
    given = None if context is None else rng.normal(size=(6, context)).astype("float32")
    wanted = by_masks(network, x, given)
    np.testing.assert_allclose(network(x, context=given), wanted, rtol=1e-4, atol=1e-4)
    full = network.full_pass(network.weights_now(), tf.constant(x), given)
    np.testing.assert_allclose(full, wanted, rtol=1e-4, atol=1e-4)


def test_blocks_cover_all_outputs_and_skip_inputs_that_no_output_sees():
    network = made(64, 512)
    for mask, blocks in zip(network.network.masks, network.network.blocks, strict=True):
        assert (blocks[0][0], blocks[-1][1]) == (0, mask.shape[1])
        assert all(before[1] == after[0] for before, after in itertools.pairwise(blocks))
        assert not any(mask[inputs:, begin:end].any() for begin, end, inputs in blocks)
    wide = sum((end - begin) * inputs for begin, end, inputs in network.network.blocks[1])
    assert wide <= 0.65 * 512 * 512
    assert [len(blocks) for blocks in made(21, 128).network.blocks] == [1, 1, 1]


def test_hidden_units_start_spread_out_by_the_inputs_that_they_see():
    network = MADE((512, 512))
    network.build((None, 64), (None, 64, 2))
    for kernel, bias, mask in zip(
        network.kernels[:-1], network.biases[:-1], network.network.masks, strict=False
    ):
        bounds = np.maximum(mask.sum(0), 1.0) ** -0.5
        for values in (kernel.numpy(), bias.numpy()[None]):
            assert (np.abs(values) <= bounds).all()
            assert np.std(values / bounds) == pytest.approx(3**-0.5, rel=0.1)
    assert not np.any(network.kernels[-1])
    assert not np.any(network.biases[-1])
