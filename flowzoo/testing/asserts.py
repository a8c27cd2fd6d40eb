"""Assertions of the checks, with messages that say what was promised and what came."""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf

from flowzoo.testing.flows import points

# Tolerance between runtimes, relative to the largest value.
AGREEMENT = {"float64": 1e-10, "float32": 1e-4}


def assert_close(got, wanted, tolerance, what, relative=True):
    """Raises if the largest difference, relative to the largest value, exceeds the tolerance."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return
    scale = max(1.0, float(np.abs(wanted).max())) if relative else 1.0
    error = float(np.abs(got - wanted).max()) / scale
    assert error <= tolerance, f"{what}: off by {error:.3g}, wanted <= {tolerance:g}"


def assert_same_flow(got, wanted, where):
    """Raises unless both flows have the same weights and the same outputs."""
    x, z, context = points(wanted, 4)
    assert type(got) is type(wanted)
    for one, other in zip(got.get_weights(), wanted.get_weights(), strict=True):
        assert np.array_equal(one, other), f"{where} changes weights"
    for method, rows in (("log_density", x), ("decode_rows", z)):
        one, other = (getattr(flow.density, method)(rows, context).numpy() for flow in (got, wanted))
        assert np.array_equal(one, other), f"{where} changes {method} by {np.abs(one - other).max()}"


def assert_refuses(function, arguments, words):
    """Raises unless the call raises a ValueError whose message contains all of the words."""
    name = function.__name__
    message = None
    with contextlib.suppress(tf.errors.InvalidArgumentError):
        try:
            function(*arguments)
        except ValueError as error:
            message = str(error)
    assert message is not None, f"{name} raised no ValueError, wanted one that says {words}"
    for word in words:
        assert word in message, f"{name}: the message {message!r} does not say {word!r}"


def show(*shape):
    """A shape as error messages show it."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
