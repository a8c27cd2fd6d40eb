"""The general solvers of stepwise conditioners, compared with those of MADE."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.bijectors import Affine, MaskedAutoregressive
from flowzoo.conditioners import MADE
from flowzoo.conditioners.stepwise import StepwiseConditioner
from flowzoo.testing import perturb


class PlainMADE(MADE):
    """A MADE with the general solvers of D full passes, as for a conditioner with only `full_pass`."""

    solve = StepwiseConditioner.solve
    solve_transposed = StepwiseConditioner.solve_transposed


def affine(parameters, event_shape):
    shift, log_scale = tf.unstack(parameters, axis=-2)
    return Affine(shift, tf.tanh(log_scale), event_shape, dtype=tf.float64)


def bijector(kind, side, context):
    keras.utils.set_random_seed(0)
    conditioner = kind((8, 8), dtype="float64")
    conditioner.build((None, 5), (None, 5, 2), None if context is None else (None, 3))
    perturb(conditioner, 0.3)
    return MaskedAutoregressive(conditioner, affine, context, conditions_on=side, dtype=tf.float64)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("side", ["data", "latent"])
def test_the_general_solvers_agree_with_those_of_made(rng, side, conditional):
    context = tf.constant(rng.normal(size=(6, 3))) if conditional else None
    rows, results = tf.constant(rng.normal(size=(6, 5))), []
    for kind in (MADE, PlainMADE):
        flow = bijector(kind, side, context)
        slow = flow.forward_and_log_det if side == "data" else flow.inverse_and_log_det
        with tf.GradientTape() as tape:
            tape.watch(rows)
            known, log_det = slow(rows)
            total = tf.reduce_sum(known**2) + tf.reduce_sum(tf.sin(log_det))
        results.append((known, log_det, tape.gradient(total, rows)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
