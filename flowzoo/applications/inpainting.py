"""inpaint: fills in the unknown entries of rows by Langevin steps on the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from flowzoo.random import ALGORITHM, row_seeds
from flowzoo.utils import validation

if TYPE_CHECKING:
    from flowzoo.flow import Flow

# Tolerance of the known entries after the entrywise transforms (in standard deviations of a vector's column,
# in logits of a pixel). It shrinks, so that early steps fix the coarse content and late steps the details.
_FIRST_WIDTH, _LAST_WIDTH = 3.0, 0.1
# Decay and offset of the preconditioner's running mean of squared gradients.
_DECAY, _TINY = 0.99, 1e-6


def inpaint(
    flow: Flow,
    x: Any,
    known: Any,
    context: Any = None,
    *,
    samples: int = 1,
    steps: int = 400,
    step_size: float = 0.3,
    temperature: float = 0.7,
    seed: int = 0,
) -> np.ndarray:
    """Samples the unknown entries of rows given the known ones: holes in images, missing values of tables.

    The latents start as noise and take Langevin steps towards ``p(z) p(known | z)``. The second factor is a
    normal around the known values that narrows with each step; it is flat within the step of discrete data.
    Steps are scaled by running means of squared gradients (Li et al. 2016). At the end, the known values are
    restored. The result is approximate: the number of steps is finite, and the last width is not zero.

    Args:
        flow: A flow of vectors or images.
        x: ``[N, *event_shape]``, raw data; unknown entries may have any value.
        known: Booleans that broadcast against x: ``[*event_shape]`` for one mask for all rows.
        context: ``[N, size]``, for a conditional flow.
        samples: Number of completions of each row.
        steps: Number of Langevin steps.
        step_size: Size of the first step, in standard deviations of a latent; the last is a tenth of it.
        temperature: Factor of the noise in the steps: 1 samples, less gives likelier and less varied rows.
        seed: Seed of the noise.

    Returns:
        ``[N, samples, *event_shape]``, raw units. Unknown entries of discrete data are continuous values
        within their steps: use ``np.floor`` for whole pixels.

    Raises:
        ValueError: On wrong shapes or types, known entries that are not finite, or no steps or samples.

    References:
        Preconditioned Stochastic Gradient Langevin Dynamics (Li, Chen, Carlson and Carin, 2016),
        https://arxiv.org/abs/1512.07666

    Example:
        >>> import flowzoo
        >>> from flowzoo.applications import inpaint
        >>> flow = flowzoo.from_pretrained("planar_two_moons")
        >>> inpaint(flow, [[1.0, 0.0]], [True, False], samples=3, steps=10).shape
        (1, 3, 2)
    """
    if samples < 1 or steps < 1:
        raise ValueError(f"samples and steps must be at least 1; got {samples} and {steps}.")
    x, known = np.asarray(x), np.asarray(known, bool)
    try:
        known = np.broadcast_to(known, x.shape)
    except ValueError:
        raise ValueError(f"known must broadcast against x of shape {x.shape}; got {known.shape}.") from None
    rows = validation.as_rows(np.where(known, x, 0), flow.event_shape, flow.variable_dtype, "x")
    validation.check_finite(rows, "the known entries of x")
    context = validation.as_context(context, flow.context_shape, len(rows), flow.variable_dtype)
    rows, known = tf.repeat(rows, samples, axis=0), tf.repeat(known, samples, axis=0)
    context = None if context is None else tf.repeat(context, samples, axis=0)
    completed = _langevin(flow, rows, known, context, steps, step_size, temperature, seed)
    return completed.numpy().reshape(len(x), samples, *flow.event_shape)


def _langevin(flow, x, known, context, steps, step_size, temperature, seed):
    density = flow.density
    entrywise, mixing = density.split(context)
    steps_of_data = tf.constant(density.discrete_steps, density.dtype)
    low, high = entrywise.inverse(x), entrywise.inverse(x + steps_of_data)

    def energy(z, width):
        seen = mixing.forward(z)
        off = tf.where(known, tf.nn.relu(low - seen) + tf.nn.relu(seen - high), 0.0)
        return tf.reduce_sum(tf.square(off / width)) / 2.0 - tf.reduce_sum(flow.base.log_prob(z, context))

    @tf.function(jit_compile=flow.use_xla, autograph=False)
    def step(z, squares, share, number):
        """One step at the fraction `share` of all; returns z and the running mean of squared gradients."""
        width = _FIRST_WIDTH * (_LAST_WIDTH / _FIRST_WIDTH) ** share
        size = step_size * (1.0 - 0.9 * share)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = energy(z, width)
        gradient = tape.gradient(value, z)
        # One preconditioner for all rows: with one for each, rows in flat regions move too far.
        now = tf.reduce_mean(tf.square(gradient), axis=0, keepdims=True)
        squares = tf.where(number == 0, now, _DECAY * squares + (1.0 - _DECAY) * now)
        scale = size / tf.sqrt(tf.sqrt(squares) + _TINY)
        noise = tf.random.stateless_normal(
            tf.shape(z), tf.stack([number, seed]), dtype=z.dtype, alg=ALGORITHM
        )
        return z - tf.square(scale) / 2.0 * gradient + temperature * scale * noise, squares

    count = int(x.shape[0])
    z = flow.base.sample(row_seeds(seed, count), tf.fill([count], tf.cast(temperature, x.dtype)), context)
    squares = tf.zeros_like(z[:1])
    for number in range(steps):
        share = tf.constant(number / max(steps - 1, 1), x.dtype)
        z, squares = step(z, squares, share, tf.constant(number))
    return tf.where(known, x, density.decode_rows(z, context))
