"""Checks of the mathematics: inverses, log-dets, densities, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from flowzoo import bijectors
from flowzoo.flow import Flow
from flowzoo.testing.asserts import assert_close
from flowzoo.testing.flows import draw, points

_INVERSE_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
_LOG_DET_TOLERANCE = {"float64": 1e-8, "float32": 1e-2}


def check_bijector(
    bijector: bijectors.FusedBijector, z: Any, *, inverse_tolerance=None, log_det_tolerance=None
) -> None:
    """A bijector inverts itself in both directions, and its log-dets match the autodiff Jacobians.

    Args:
        bijector: A fused bijector without batch parameters.
        z: Latents ``[N, *latent_shape]``, well inside the domain.
        inverse_tolerance: Tolerance of the round trips; 1e-9 in float64, 1e-4 in float32 by default.
        log_det_tolerance: Tolerance of the log-dets; 1e-8 in float64, 1e-2 in float32 by default.
    """
    dtype = bijector.dtype.name
    z = tf.convert_to_tensor(z, bijector.dtype)
    x, forward = bijector.forward_and_log_det(z)
    back, inverse = bijector.inverse_and_log_det(x)
    again = bijector.forward_and_log_det(back)[0]
    tolerance = inverse_tolerance or _INVERSE_TOLERANCE[dtype]
    assert_close(back, z, tolerance, f"{bijector.name}: inverse(forward(z)) is not z")
    assert_close(again, x, tolerance, f"{bijector.name}: forward(inverse(x)) is not x")
    tolerance = log_det_tolerance or _LOG_DET_TOLERANCE[dtype]
    for function, at, log_det, side in (
        (bijector.forward_and_log_det, z, forward, "forward"),
        (bijector.inverse_and_log_det, x, inverse, "inverse"),
    ):
        wanted = log_det_by_autodiff(lambda rows, f=function: f(rows)[0], at)
        log_det = np.broadcast_to(log_det, wanted.shape)
        assert_close(log_det, wanted, tolerance, f"{bijector.name}: {side} log-det", relative=False)


def log_det_by_autodiff(function: Callable, rows: tf.Tensor, context: tf.Tensor | None = None) -> np.ndarray:
    """``log|det dy/dx|`` ``[N]`` of a map of rows, ``y = function(x)`` or ``function(x, context)``.

    It takes one backward pass: each row is repeated once for each of its outputs. This is valid because
    a row's output depends on that row alone.
    """
    count, size = rows.shape[0], math.prod(rows.shape[1:])
    repeated = [tf.repeat(t, size, axis=0) for t in (rows, context) if t is not None]
    with tf.GradientTape() as tape:
        tape.watch(repeated[0])
        outputs = tf.reshape(function(*repeated), [count, size, size])
        own = tf.linalg.trace(outputs)
    jacobians = tf.reshape(tape.gradient(own, repeated[0]), [count, size, size])
    return np.linalg.slogdet(jacobians.numpy())[1]


def check_inverse(flow: Flow) -> None:
    """forward(inverse(x)) = x for raw data, and inverse(forward(z)) = z for latents."""
    tolerance = _INVERSE_TOLERANCE[flow.variable_dtype]
    x, z, context = points(flow)
    whole = flow.bijector(context)
    back = whole.forward_and_log_det(whole.inverse_and_log_det(x)[0])[0]
    assert_close(back, x, tolerance, "forward(inverse(x)) is not x")
    # Without preprocessing: its steps, such as a logit of pixels, have their own conditioning.
    transforms = [layer.bijector(context) for layer in flow.transforms]
    chain = bijectors.Chain(transforms, flow.event_shape, dtype=flow.variable_dtype)
    back = chain.inverse_and_log_det(chain.forward_and_log_det(z)[0])[0]
    assert_close(back, z, tolerance, "inverse(forward(z)) is not z")


def check_log_det(flow: Flow) -> None:
    """Both log-dets of the whole flow match the autodiff Jacobians."""
    tolerance = _LOG_DET_TOLERANCE[flow.variable_dtype]
    x, _, context = points(flow, 3)

    def forward(z, context=None):
        return flow.bijector(context).forward_and_log_det(z)

    def inverse(x, context=None):
        return flow.bijector(context).inverse_and_log_det(x)

    # Not latents of the base: preprocessing may clip their data, and has no Jacobian there.
    z = inverse(x, context)[0]
    for function, at, side in ((forward, z, "forward"), (inverse, x, "inverse")):
        wanted = log_det_by_autodiff(lambda *args, f=function: f(*args)[0], at, context)
        log_det = np.broadcast_to(function(at, context)[1], wanted.shape)
        assert_close(log_det, wanted, tolerance, f"the {side} log-det", relative=False)


def check_density(flow: Flow) -> None:
    """The density of a flow on 2-D vectors integrates to 1, in raw units."""
    _, log_density, cell = _quadrature(flow)
    total = float(np.exp(log_density).sum() * cell)
    assert abs(total - 1.0) < 1e-3, f"the density integrates to {total:.5f}, wanted 1"


def check_samples(flow: Flow) -> None:
    """Samples of a flow on 2-D vectors follow its density: both marginals and the mean log-density."""
    grid, log_density, cell = _quadrature(flow)
    mass = np.exp(log_density) * cell
    count = 8192
    samples, context = draw(flow, count)
    for axis in (0, 1):
        values = np.sort(samples[:, axis])
        margin = np.cumsum(mass.sum(1 - axis))
        # Grid points are cell centers, so the cumulative sum holds half a cell further.
        step = grid[axis][1] - grid[axis][0]
        wanted = np.interp(values, grid[axis] + step / 2, margin)
        distance = np.abs(wanted - (np.arange(count) + 0.5) / count).max()
        assert distance < 1.95 / math.sqrt(count), (
            f"column {axis} of the samples does not follow the density: their distribution functions "
            f"are {distance:.4f} apart, wanted < {1.95 / math.sqrt(count):.4f} (Kolmogorov-Smirnov, 0.1 %)"
        )
    own = flow.density.log_density(tf.constant(samples, flow.variable_dtype), context).numpy()
    wanted, error = float((mass * log_density).sum()), own.std() / math.sqrt(count)
    assert abs(own.mean() - wanted) < 4 * error + 1e-3, (
        f"the mean log-density of samples is {own.mean():.4f}, by quadrature {wanted:.4f} (±{error:.4f})"
    )


def check_near_identity(flow: Flow) -> None:
    """A new flow without preprocessing is near the identity, up to a permutation of the dimensions."""
    _, z, context = points(flow)
    x, log_det = flow.bijector(context).forward_and_log_det(z)
    size = math.prod(flow.event_shape)
    log_det = np.abs(log_det).max() / size
    assert log_det < 0.05, f"a new flow's log-det is {log_det:.3f} per dimension, wanted near 0"
    norms = [np.linalg.norm(np.reshape(t, [len(z), size]), axis=1) for t in (z, x)]
    stretch = np.abs(norms[1] / norms[0] - 1).max()
    assert stretch < 0.05, f"a new flow changes lengths by {stretch:.1%}, wanted near 0"


def check_gradients(flow: Flow) -> None:
    """Every trainable weight gets a finite gradient that is not all zeros."""
    x, _, context = points(flow, 64)
    assert flow.trainable_variables, "the flow has no trainable weights"
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(flow.density.log_density(x, context, training=True))
    gradients = tape.gradient(mean, [variable.value for variable in flow.trainable_variables])
    for variable, gradient in zip(flow.trainable_variables, gradients, strict=True):
        assert gradient is not None, f"{variable.path} gets no gradient"
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all(), f"the gradient of {variable.path} is not finite"
        assert np.any(values), f"the gradient of {variable.path} is zero"


def check_context(flow: Flow) -> None:
    """Each entry of a context changes the density and the samples."""
    if flow.context_shape is None:
        return
    x, z, context = points(flow)
    density, decoded = flow.density.log_density(x, context), flow.density.decode_rows(z, context)
    for i in range(flow.context_shape[0]):
        other = context + tf.one_hot(i, flow.context_shape[0], dtype=context.dtype)
        assert np.all(flow.density.log_density(x, other) != density), f"context[{i}] does not change log_prob"
        assert np.any(flow.density.decode_rows(z, other) != decoded), f"context[{i}] does not change samples"


def _quadrature(flow, size=320):
    """A grid over twice the range of samples: its two axes, the log-densities, the area of a cell."""
    samples, context = draw(flow, 2048)
    low, high = samples.min(0), samples.max(0)
    middle, reach = (low + high) / 2, high - low
    axes = [np.linspace(m - r, m + r, size) for m, r in zip(middle, reach, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    context = None if context is None else tf.repeat(context[:1], len(points), axis=0)
    log_density = flow.density.log_density(tf.constant(points, flow.variable_dtype), context)
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    return axes, log_density.numpy().reshape(size, size), cell
