"""Flows in TFP: MCMC, divergences, joint distributions, and TFP's own RealNVP."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.testing import make_flow

tfb, tfd = tfp.bijectors, tfp.distributions
SMALL = {"steps": 2, "hidden_units": (4,)}


@pytest.fixture(scope="module")
def flow():
    return make_flow("realnvp", (2,), dtype="float32", **SMALL)


@pytest.fixture(scope="module")
def conditional():
    return make_flow("realnvp", (2,), (3,), dtype="float32", **SMALL)


def test_samples_and_log_prob_of_the_distribution_agree(flow):
    x, log_prob = flow.distribution().experimental_sample_and_log_prob(100, seed=(0, 1))
    assert x.shape == (100, 2)
    np.testing.assert_allclose(log_prob, flow.log_prob(x), rtol=1e-4, atol=1e-4)


def test_hmc_runs_in_the_latents_of_a_flow(flow):
    """Neural transport: the chain targets the flow's own density, so its latents are standard normal."""
    distribution = flow.distribution()
    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.HamiltonianMonteCarlo(distribution.log_prob, step_size=0.7, num_leapfrog_steps=3),
        bijector=flow.bijector(),
    )

    @tf.function
    def chain():
        return tfp.mcmc.sample_chain(
            60,
            current_state=flow.sample(64, seed=1),
            kernel=kernel,
            trace_fn=lambda _, results: results.inner_results.is_accepted,
            seed=(0, 1),
        )

    states, accepted = chain()
    assert np.mean(accepted) > 0.8
    assert np.all(np.any(states[0] != states[-1], axis=-1)), "every chain moves"
    z = flow.encode(tf.reshape(states[20:], [-1, 2])).numpy()
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.15)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.15)


def test_kl_divergence_through_one_bijector_equals_that_of_the_bases(flow):
    bijector = flow.bijector()
    one = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    other = tfd.MultivariateNormalDiag(tf.ones(2), 2 * tf.ones(2))
    got = tfd.kl_divergence(
        tfd.TransformedDistribution(one, bijector), tfd.TransformedDistribution(other, bijector)
    )
    np.testing.assert_allclose(got, tfd.kl_divergence(one, other), rtol=1e-6)


def test_kl_divergence_of_two_flows_by_monte_carlo(flow):
    other = make_flow("realnvp", (2,), dtype="float32", noise=0.3, seed=1, **SMALL)

    def estimate(p, q):
        return tfp.vi.monte_carlo_variational_loss(
            target_log_prob_fn=q.log_prob, surrogate_posterior=p, sample_size=2000, seed=(0, 1)
        )

    assert float(estimate(flow.distribution(), flow.distribution())) == pytest.approx(0.0, abs=1e-4)
    x = flow.sample(2000, seed=3)
    wanted = np.mean(flow.log_prob(x) - other.log_prob(x))
    assert wanted > 0.05
    assert float(estimate(flow.distribution(), other.distribution())) == pytest.approx(wanted, rel=0.2)


def test_a_flow_in_a_joint_distribution(flow, conditional):
    joint = tfd.JointDistributionSequential(
        [flow.distribution(), lambda x: tfd.Independent(tfd.Normal(x, 1.0), 1)]
    )
    x, y = joint.sample(4, seed=(0, 1))
    wanted = flow.log_prob(x) + tf.reduce_sum(tfd.Normal(x, 1.0).log_prob(y), -1)
    np.testing.assert_allclose(joint.log_prob(x, y), wanted, rtol=1e-4, atol=1e-4)


def test_a_conditional_flow_is_a_likelihood_in_a_joint_distribution(conditional):
    prior = tfd.MultivariateNormalDiag(tf.zeros([5, 3]))
    joint = tfd.JointDistributionSequential([prior, lambda context: conditional.distribution(context)])
    context, x = joint.sample(seed=(0, 1))
    assert x.shape == (5, 2)
    wanted = prior.log_prob(context) + conditional.log_prob(x, context)
    np.testing.assert_allclose(joint.log_prob(context, x), wanted, rtol=1e-4, atol=1e-4)


def test_a_conditional_distribution_has_a_batch_entry_for_each_context(conditional, rng):
    context = rng.normal(size=(4, 3)).astype(np.float32)
    distribution = conditional.distribution(context)
    x = distribution.sample(7, seed=(0, 1))
    assert (x.shape, distribution.batch_shape) == ((7, 4, 2), (4,))
    log_prob = distribution.log_prob(x)
    assert log_prob.shape == (7, 4)
    for i in range(4):
        wanted = conditional.log_prob(x[:, i], context[i])
        np.testing.assert_allclose(log_prob[:, i], wanted, rtol=1e-4, atol=1e-4)


def test_images_with_a_context_broadcast(rng):
    flow = make_flow("realnvp", (2, 2, 2), (3,), dtype="float32", levels=1, channels=4, blocks=0)
    context = rng.normal(size=(3, 3)).astype(np.float32)
    distribution = flow.distribution(context)
    x = distribution.sample(2, seed=(0, 1))
    assert x.shape == (2, 3, 2, 2, 2)
    assert distribution.log_prob(x).shape == (2, 3)


@pytest.mark.parametrize("size", [4, 5])
def test_tfps_real_nvp_with_our_weights_gives_the_same_density(rng, size):
    """Our couplings in TFP's `RealNVP`: the same conditioners, tanh bounds and reversals."""
    flow = make_flow("realnvp", (size,), dtype="float32", noise=0.3, permutation="reverse", **SMALL)
    standardize, *transforms = flow.density.layers
    parts = [tfb.Shift(standardize.mean.value), tfb.Scale(log_scale=standardize.log_std.value)]
    for layer in transforms:
        kind = type(layer).__name__
        if kind == "ActNorm":
            parts += [tfb.Shift(layer.shift.value), tfb.Scale(log_scale=layer.log_scale.value)]
        elif kind == "Permute":
            parts.append(tfb.Permute(list(range(size))[::-1]))
        else:
            parts.append(tfb.RealNVP(size // 2, shift_and_log_scale_fn=_shift_and_log_scale(layer)))
    assert [type(part).__name__ for part in parts].count("RealNVP") == 2
    oracle = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(size)), tfb.Chain(parts))
    x = rng.normal(3.0, 2.0, (16, size)).astype(np.float32)
    np.testing.assert_allclose(flow.log_prob(x), oracle.log_prob(x), rtol=1e-5, atol=1e-5)


def _shift_and_log_scale(coupling):
    def function(identity, units, **condition):
        shift, raw = tf.split(coupling.conditioner(identity), 2, axis=-1)
        return shift, coupling.scale_bound * tf.tanh(raw / coupling.scale_bound)

    return function
