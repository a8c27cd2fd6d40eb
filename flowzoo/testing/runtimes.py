"""Checks of rows and runtimes: eager, graph and XLA, seeds, any number of rows, TFP."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from flowzoo import random
from flowzoo.backend.row_function import RowFunction
from flowzoo.flow import Flow
from flowzoo.testing.asserts import AGREEMENT, assert_close
from flowzoo.testing.flows import contexts, points


def check_runtimes(flow: Flow) -> None:
    """Eager, graph and XLA agree; one graph serves any number of rows, including none."""
    x, z, context = points(flow, 5)
    for method, rows in ((flow.density.log_density, x), (flow.density.decode_rows, z)):
        arguments = [tensor for tensor in (rows, context) if tensor is not None]
        signature = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in arguments]
        graph = tf.function(method, input_signature=signature, autograph=False)
        eager = method(*arguments)
        tolerance, name = AGREEMENT[flow.variable_dtype], method.__name__
        for count in (5, 1, 0):
            got = graph(*[tensor[:count] for tensor in arguments])
            assert_close(got, eager[:count], tolerance, f"{name} of {count} rows, graph against eager")
            assert method(*[tensor[:count] for tensor in arguments]).shape == got.shape
        compiled = RowFunction(method, 8, jit_compile=True, weights=1)(*arguments)
        assert_close(compiled, eager, tolerance, f"{name}, XLA against eager")


def check_rows(flow: Flow) -> None:
    """A row's density and sample do not depend on the other rows, even if these are NaN."""
    x, _, context = points(flow, 6)
    seeds = tf.constant(random.row_seeds(5, 6))
    temperature = tf.linspace(tf.constant(0.5, x.dtype), 1.5, 6)
    row, tolerance = 3, AGREEMENT[flow.variable_dtype]
    own = tf.reshape(tf.range(6) == row, [6] + [1] * (x.shape.rank - 1))
    for neighbour in (math.nan, 1.0):
        among = flow.density.log_density(tf.where(own, x, tf.cast(neighbour, x.dtype)), context)
        density = flow.density.log_density(x, context)
        assert among[row] == density[row], (
            f"log_prob of a row is {among[row]} among rows of {neighbour}, but {density[row]} among others"
        )
    alone: Any = [None if t is None else t[row : row + 1] for t in (x, context, seeds, temperature)]
    assert_close(
        flow.density.log_density(*alone[:2]), density[row : row + 1], tolerance, "log_prob of a row alone"
    )
    noise = flow.base.sample(seeds, temperature, context)
    noise_alone = flow.base.sample(alone[2], alone[3], alone[1])
    # Not bit for bit: a cosine rounds differently in a vector instruction and in its remainder.
    assert_close(noise_alone[0], noise[row], 1e-6, "the noise of a row alone")
    samples, sample_alone = (
        flow.density.sample_rows(seeds, temperature, context),
        flow.density.sample_rows(alone[2], alone[3], alone[1]),
    )
    assert_close(sample_alone[0], samples[row], tolerance, "a sample drawn alone")
    assert_close(
        samples, flow.density.decode_rows(noise, context), tolerance, "samples against decoded noise"
    )


def check_seeds(flow: Flow) -> None:
    """A seed repeats its samples, another seed changes them, and a seed stands for its `row_seeds`."""
    context = contexts(flow, 4)
    samples = flow.sample(4, context, seed=7).numpy()
    assert samples.shape == (4, *flow.event_shape), f"samples have shape {samples.shape}"
    assert np.isfinite(samples).all(), "samples hold NaN or infinity"
    again = flow.sample(4, context, seed=7).numpy()
    assert np.array_equal(again, samples), "the same seed gave different samples"
    rows = flow.sample(context=context, seed=random.row_seeds(7, 4)).numpy()
    assert np.array_equal(rows, samples), "sample(n, seed=s) is not sample(seed=row_seeds(s, n))"
    fewer = flow.sample(3, None if context is None else context[:3], seed=7).numpy()
    assert np.array_equal(fewer, samples[:3]), "the first samples change with the number of samples"
    others = flow.sample(4, context, seed=8).numpy()
    assert not np.any(np.all(others == samples, axis=tuple(range(1, samples.ndim)))), "seeds 7 and 8 agree"


def check_distribution(flow: Flow) -> None:
    """The TFP distribution has the flow's density, with and without leading sample dimensions."""
    x, _, context = points(flow, 6)
    context = None if context is None else context[:2]
    distribution, batch = flow.distribution(context), () if context is None else (2,)
    tolerance = AGREEMENT[flow.variable_dtype]
    for shape in ((), (3,)):
        draws = distribution.sample(shape, seed=(0, 1))
        wanted = (*shape, *batch, *flow.event_shape)
        assert draws.shape == wanted, f"sample({shape}) has shape {draws.shape}, wanted {wanted}"
        rows = x[: math.prod((*shape, *batch))]
        each = None if context is None else tf.tile(context, [len(rows) // 2, 1])
        z, log_det = flow.bijector(each).inverse_and_log_det(rows)
        wanted = tf.reshape(flow.base.log_prob(z, each) + log_det, [*shape, *batch])
        got = distribution.log_prob(tf.reshape(rows, draws.shape))
        assert_close(got, wanted, tolerance, f"log_prob of the TFP distribution, sample shape {shape}")
