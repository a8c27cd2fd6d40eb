"""compile(l2=, noise=) acts during training only."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow
from flowzoo.conditioners import MLP, ConvNet
from flowzoo.layers import ActNorm, AffineCoupling, Dequantize, Logit, Standardize


def make(preprocessing=None, **options):
    keras.utils.set_random_seed(0)
    layers = [ActNorm(), AffineCoupling(MLP((4,)))]
    flow = Flow(layers, (2,), preprocessing=[Standardize()] if preprocessing is None else preprocessing)
    flow.compile(keras.optimizers.Adam(0.05), **{"run_eagerly": True, **options})
    return flow


@pytest.fixture
def x(rng):
    return rng.normal(3.0, [2.0, 50.0], (512, 2)).astype(np.float32)


# -- l2 --------------------------------------------------------------------------------------
def test_l2_adds_the_squares_of_the_kernels_to_the_loss_alone(x):
    flow = make(l2=0.5)
    flow.adapt(x)
    conditioner = flow.transforms[1].conditioner
    conditioner.last.kernel.assign(tf.ones([4, 2]))
    squares = sum(float(tf.reduce_sum(kernel.value**2)) for kernel in conditioner.penalized)
    assert squares > 8
    loss, nll = flow.evaluate(x, verbose=0)
    assert loss == pytest.approx(nll + 0.5 * squares, rel=1e-4)


def test_l2_keeps_the_kernels_small(x):
    norms = []
    for l2 in (0.0, 1.0):
        flow = make(l2=l2, run_eagerly=False)
        flow.fit(x, epochs=3, batch_size=64, verbose=0)
        kernels = flow.transforms[1].conditioner.penalized
        norms.append(sum(float(tf.reduce_sum(kernel.value**2)) for kernel in kernels))
    assert norms[1] < 0.8 * norms[0]


@pytest.mark.parametrize("architecture", ["realnvp", "maf", "nsf", "glow"])
def test_every_conditioner_has_kernels_and_biases_are_not_penalized(architecture):
    flow = flowzoo.create_model(architecture, (4,), context_shape=(2,))
    kernels = flow.density.penalized_weights()
    assert kernels
    assert all(len(kernel.shape) == 2 for kernel in kernels)
    assert len({id(kernel) for kernel in kernels}) == len(kernels)


def test_l2_penalizes_the_length_of_a_weight_norm():
    network = ConvNet(channels=3, blocks=1, weight_norm=True)
    network.build((None, 4, 4, 1), output_shape=(None, 4, 4, 2))
    shapes = [tuple(kernel.shape) for kernel in network.penalized]
    assert sorted(shapes) == sorted([(3,), (3,), (3,), (3, 3, 3, 2)])


def test_l2_of_a_flow_without_conditioners_is_refused():
    flow = flowzoo.create_model("planar", (2,))
    with pytest.raises(ValueError, match=r"no conditioner.*leave l2 out"):
        flow.compile(l2=0.1)


# -- noise -----------------------------------------------------------------------------------
def test_noise_widens_the_density_by_its_own_variance_in_every_column(x):
    """Unit variance and noise of 1 give variance 2, in columns of standard deviation 2 or 50 too."""
    flow = make(noise=1.0)
    flow.adapt(x)
    rows = tf.constant(np.tile(x, (20, 1)))
    moved, rows = flow.density._blurred(rows, tf.constant([0, 1]), 1.0).numpy(), rows.numpy()
    np.testing.assert_allclose(moved.std(0) / x.std(0), np.sqrt(2), rtol=0.03)
    np.testing.assert_allclose((moved - rows).mean(0) / x.std(0), 0.0, atol=0.03)


def test_noise_is_new_at_every_step_and_absent_in_evaluation(x):
    flow = make(noise=0.5)
    flow.adapt(x)
    flow.optimizer.learning_rate = 0.0
    first, second = (flow.fit(x, verbose=0).history["nll"][0] for _ in range(2))
    calm = flow.evaluate(x, verbose=0)[1]
    assert first != second
    assert min(first, second) > calm + 0.05
    np.testing.assert_allclose(-flow.log_prob(x).numpy().mean(), calm, rtol=1e-5)


def test_seeds_draw_other_noise_and_one_seed_the_same(x):
    def nll(seed):
        return make(noise=0.5, seed=seed).fit(x, verbose=0).history["nll"][0]

    assert nll(0) == nll(0) != nll(2**40 + 1)


def test_noise_is_not_that_of_dequantization_again(rng):
    flow = make([Dequantize(1.0)], noise=1.0)
    rows, seed = tf.constant(rng.integers(0, 9, (4000, 2)), tf.float32), tf.constant([0, 3])
    spread = flow.density.dequantize(rows, seed)
    moved = flow.density._blurred(spread, seed, 1.0) - spread
    assert abs(np.corrcoef((spread - rows).numpy()[:, 0], moved.numpy()[:, 0])[0, 1]) < 0.05


def test_noise_leaves_pixels_in_their_range(rng):
    flow = Flow([ActNorm()], (4, 4, 1), preprocessing=[Dequantize(), Logit()])
    flow.compile(noise=0.3, run_eagerly=True)
    images = rng.integers(0, 256, (64, 4, 4, 1))
    assert np.isfinite(flow.fit(images, verbose=0).history["nll"][0])
    moved = flow.density._blurred(
        flow.density.dequantize(tf.constant(images, tf.float32)), tf.constant([0, 1]), 0.3
    ).numpy()
    assert -0.01 < moved.min() < moved.max() < 256.01


def test_both_run_in_the_compiled_loop_and_are_kept_in_a_saved_flow(x, tmp_path):
    flow = make(l2=1e-3, noise=0.1, seed=7, run_eagerly=False, jit_compile=True)
    history = flow.fit(x, epochs=2, batch_size=64, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][0] > history["nll"][0]
    flow.save(tmp_path / "flow.keras")
    kept = keras.saving.load_model(tmp_path / "flow.keras").get_compile_config()
    assert (kept["l2"], kept["objective"]["config"]["noise"], kept["seed"]) == (1e-3, 0.1, 7)


@pytest.mark.parametrize("options", [{"l2": -1.0}, {"noise": -0.1}])
def test_negative_values_are_refused(options):
    with pytest.raises(ValueError, match="l2 and noise must be >= 0"):
        make(**options)
