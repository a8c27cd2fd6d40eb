"""Planar flows by name: they learn from data and by reverse KL, and invert in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import random, testing
from flowzoo.data import toy


@pytest.fixture(scope="module")
def fitted():
    x, _ = toy.sample("two_moons", 4000, seed=0)
    flow = flowzoo.create_model("planar", (2,), steps=10)
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.adapt(x)
    before = nll(flow, x)
    flow.fit(x, batch_size=200, epochs=15, verbose=0)
    return flow, tf.constant(x), before


def nll(flow, x, context=None):
    """Mean negative log-likelihood, without compiling."""
    return -float(np.mean(flow.density.log_density(tf.constant(x), context)))


def test_fit_learns_from_data(fitted):
    flow, x, before = fitted
    # A Gaussian reaches about 1.8 nats; the entropy of the density is 0.29.
    assert nll(flow, x) < min(before - 0.5, 1.2)


def test_float32_round_trip_after_training(fitted):
    flow, x, _ = fitted
    np.testing.assert_allclose(flow.density.decode_rows(flow.density.encode_rows(x)), x, atol=1e-4)
    z = tf.constant(np.random.default_rng(0).normal(size=(1000, 2)), tf.float32)
    np.testing.assert_allclose(flow.density.encode_rows(flow.density.decode_rows(z)), z, atol=1e-4)


def test_reverse_kl_learns_an_unnormalised_density():
    flow = flowzoo.create_model("planar", (2,), preprocessing="none", steps=8, closed="forward")
    optimizer = keras.optimizers.Adam(1e-2)

    def target(x):
        # A banana-shaped density times an unknown constant.
        return 3.0 - 0.5 * tf.square(x[:, 0]) - 2.0 * tf.square(x[:, 1] - 0.5 * tf.square(x[:, 0]))

    def reverse_kl(noise):
        x, log_det = flow.bijector().forward_and_log_det(noise)
        return tf.reduce_mean(flow.base.log_prob(noise) - log_det - target(x))

    @tf.function(jit_compile=True)
    def gradients(noise):
        with tf.GradientTape() as tape:
            loss = reverse_kl(noise)
        return tape.gradient(loss, [variable.value for variable in flow.trainable_variables])

    noise = [random.normal(tf.constant(random.row_seeds(i, 256)), 2) for i in range(300)]
    test = random.normal(tf.constant(random.row_seeds(1000, 4000)), 2)
    before = float(reverse_kl(test))
    for rows in noise:
        optimizer.apply_gradients(zip(gradients(rows), flow.trainable_variables, strict=True))
    # The optimum: minus the logarithm of the integral of the target.
    best = -(3.0 + np.log(2 * np.pi / 2.0))
    after = float(reverse_kl(test))
    assert best < after + 0.02
    assert after - best < 0.25 * (before - best)


def test_the_context_sets_the_density():
    x, part = toy.sample("two_moons", 2000, seed=0)
    context = np.eye(2, dtype=np.float32)[part]
    flow = flowzoo.create_model("planar", (2,), (2,), steps=6, hidden_units=(16,))
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.fit(x, context, batch_size=200, epochs=10, verbose=0)
    assert nll(flow, x, context) < nll(flow, x, 1 - context) - 0.5


def test_the_other_direction_keeps_its_promises_too():
    # tests/test_promises.py checks all models with the default, closed="inverse".
    wide = testing.make_flow("planar", (3,), steps=2, closed="forward")
    for check in testing.FLOAT64_CHECKS:
        check(wide)
    plain = testing.make_flow("planar", (3,), (2,), steps=2, closed="forward", dtype="float32")
    for check in (
        testing.check_inverse,
        testing.check_runtimes,
        testing.check_rows,
        testing.check_saved_model,
    ):
        check(plain)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"planar takes events of shape \(D,\)"):
        flowzoo.create_model("planar", (4, 4, 1))
