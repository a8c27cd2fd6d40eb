import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer, load_digits

import flowzoo
from flowzoo import bijectors, layers, testing

SMALL = {"steps": 2, "bins": 4}
SMALL_IMAGE = {**SMALL, "channels": 4}
SMALL_VECTOR = {**SMALL, "hidden_units": (8,)}
EVENT = (8, 8, 2)


def small(event=EVENT, context=None, **options):
    sizes = SMALL_VECTOR if len(event) == 1 else SMALL_IMAGE
    return testing.make_flow("glow", event, context, **{"dtype": "float64", **sizes, **options})


def levels_of(flow):
    (multiscale,) = flow.transforms
    return [[type(layer).__name__ for layer in scale] for scale in multiscale.scales]


# -- layers -----------------------------------------------------------------------------------
def test_images_go_through_levels_with_learned_priors():
    step = ["ActNorm", "LULinear", "AffineCoupling"]
    flow = flowzoo.create_model("glow", EVENT, **SMALL_IMAGE)
    assert levels_of(flow) == [
        ["Squeeze", *step, *step, "AffineCoupling"],
        ["Squeeze", *step, *step, "LearnedPrior"],
    ]
    assert flow.latent_shape == (128,)


def test_vectors_go_through_steps():
    flow = flowzoo.create_model("glow", (5,), **SMALL_VECTOR)
    step = [layers.ActNorm, layers.LULinear, layers.AffineCoupling]
    assert [type(layer) for layer in flow.transforms] == [*step, *step, layers.LearnedPrior]


def test_every_linear_map_starts_as_its_own_rotation():
    (multiscale,) = flowzoo.create_model("glow", EVENT, **SMALL_IMAGE).transforms
    maps = [layer for scale in multiscale.scales for layer in scale if isinstance(layer, layers.LULinear)]
    assert [layer.event_shape[-1] for layer in maps] == [8, 8, 16, 16]
    assert len({layer.seed for layer in maps}) == 4
    other = flowzoo.create_model("glow", EVENT, **SMALL_IMAGE, seed=100).transforms[0].scales[0][2]
    assert np.any(other.lu.numpy() != maps[0].lu.numpy())


def test_the_papers_networks_are_the_default():
    (multiscale,) = flowzoo.create_model("glow", (28, 28, 1)).transforms
    network = multiscale.scales[0][3].conditioner
    convolutions = [network.first, *[conv for block in network.inner for conv in block], network.last]
    assert [conv.kernel.shape[:2] for conv in convolutions] == [(3, 3), (1, 1), (3, 3)]
    assert not network.residual


def test_additive_couplings_keep_the_volume():
    flow = small(coupling="additive", preprocessing="none", levels=1)
    for layer in flow.transforms[0].scales[0]:
        if isinstance(layer, layers.AffineCoupling):
            assert layer.scale_bound == 0.0


# -- sizes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(("event", "levels"), [((28, 28, 1), 1), ((28, 28, 1), 2), ((12, 8, 3), 2)])
def test_sizes_that_divide_are_taken(event, levels):
    flow = flowzoo.create_model("glow", event, **SMALL_IMAGE, levels=levels)
    assert flow.sample(2).shape == (2, *event)


@pytest.mark.parametrize(
    ("event", "levels", "words"),
    [
        ((30, 30, 3), 2, ["2**levels = 4", "(30, 30, 3)", "(32, 32, 3)", "(28, 28, 3)", "fewer levels"]),
        ((28, 28, 1), 3, ["2**levels = 8", "(28, 28, 1)", "(32, 32, 1)", "(24, 24, 1)"]),
        ((8, 3, 1), 2, ["Pad the images to (8, 4, 1), or use fewer levels."]),
        ((7, 8, 1), 1, ["Pad the images to (8, 8, 1), or crop them to (6, 8, 1)."]),
        ((8, 8, 1), 0, ["levels must be >= 1; got 0"]),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_ones(event, levels, words):
    with pytest.raises(ValueError, match="levels") as error:
        flowzoo.create_model("glow", event, levels=levels)
    for word in words:
        assert word in str(error.value)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"coupling must be one of .*; got 'cubic'"):
        flowzoo.create_model("glow", EVENT, coupling="cubic")
    with pytest.raises(ValueError, match=r"odd number of equal widths.*got \(8, 16\)"):
        flowzoo.create_model("glow", (5,), residual=True, hidden_units=(8, 16))
    with pytest.raises(ValueError, match=r"scale_bound must be > 0; got 0.*additive"):
        flowzoo.create_model("glow", EVENT, scale_bound=0)


# -- promises: `tests/test_promises.py` has one level; here are two, and the options ---------------
@pytest.fixture(scope="module")
def two_levels():
    return {dtype: small(context=(3,), dtype=dtype) for dtype in ("float64", "float32")}


@pytest.mark.parametrize("check", testing.FLOAT64_CHECKS)
def test_two_levels_in_float64(two_levels, check):
    check(two_levels["float64"])


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=[pytest.mark.slow] if check is testing.check_onnx else [])
        for check in testing.FLOAT32_CHECKS
    ],
)
def test_two_levels_in_float32(two_levels, check):
    check(two_levels["float32"])


@pytest.mark.parametrize("event", [(4, 4, 1), (4,)])
@pytest.mark.parametrize(
    "options",
    [{"coupling": "additive"}, {"coupling": "spline"}, {"residual": True}],
    ids=["additive", "spline", "residual"],
)
def test_options(event, options):
    levels = {"levels": 1} if len(event) == 3 else {}
    flow = small(event, (3,), **levels, **options)
    for check in testing.FLOAT64_CHECKS:
        check(flow)


def test_new_flows_are_near_the_identity():
    for event in (EVENT, (5,)):
        testing.check_near_identity(testing.make_new_flow("glow", event, (3,), **SMALL))


@pytest.mark.slow
def test_float32_round_trip_at_depth_ten_after_training():
    x = load_breast_cancer().data
    flow = flowzoo.create_model("glow", x.shape[1:], steps=10, hidden_units=(32,))
    flow.compile(jit_compile=False)
    flow.fit(x, epochs=5, batch_size=64, verbose=0)
    h = flow.density.preprocess(tf.constant(x, tf.float32))
    chain = bijectors.Chain([layer.bijector() for layer in flow.transforms], x.shape[1:])
    z, _ = chain.inverse_and_log_det(h)
    assert np.abs(z - h).max() > 1.0
    np.testing.assert_allclose(chain.forward_and_log_det(z)[0], h, rtol=0, atol=1e-4)


# -- training --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    # Grey levels 0..16 as pixels.
    return np.minimum(images.reshape(-1, 8, 8, 1) * 16, 255), np.eye(10)[labels]


@pytest.mark.slow
def test_it_learns_digits(digits):
    images, labels = digits
    flow = flowzoo.create_model("glow", (8, 8, 1), (10,), steps=2, channels=16)
    flow.compile(optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=1.0))
    flow.adapt(images[:1000], labels[:1000])
    before = flow.bits_per_dim(images[1000:], labels[1000:]).numpy().mean()
    flow.fit(images[:960], labels[:960], epochs=4, batch_size=64, verbose=0)
    after = flow.bits_per_dim(images[1000:], labels[1000:]).numpy().mean()
    assert after < before - 0.5
    samples = flow.sample(context=labels[:4], seed=1)
    assert np.all(np.isfinite(samples))


def test_sampling_before_adapt_leaves_the_initialisation_to_the_data(digits):
    images = digits[0][:300]
    fresh, sampled = (flowzoo.create_model("glow", (8, 8, 1), **SMALL_IMAGE) for _ in range(2))
    for one, other in zip(fresh.weights, sampled.weights, strict=True):
        other.assign(one)
    assert np.all(np.isfinite(sampled.sample(8)))
    sampled.log_prob(np.full((2, 8, 8, 1), 7.0))
    for flow in (fresh, sampled):
        flow.adapt(images)
    for one, other in zip(fresh.weights, sampled.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_adapt_normalises_what_each_step_sees(digits):
    flow = flowzoo.create_model("glow", (8, 8, 1), **SMALL_IMAGE)
    flow.adapt(digits[0][:256])
    h = flow.density.preprocess(tf.constant(digits[0][:256], tf.float32))
    squeeze, actnorm, *_ = flow.transforms[0].scales[0]
    h = actnorm.bijector().inverse(squeeze.bijector().inverse(h)).numpy()
    np.testing.assert_allclose(h.mean((0, 1, 2)), 0.0, rtol=0, atol=1e-4)
    np.testing.assert_allclose(h.std((0, 1, 2)), 1.0, rtol=0, atol=1e-3)


def test_each_class_has_its_own_samples():
    flow = small(context=(3,), dtype="float32")
    same_noise = np.zeros(3, np.int64)
    samples = flow.sample(context=np.eye(3), seed=same_noise).numpy()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(samples[i] - samples[j]).max() > 1.0


def test_the_class_reaches_every_prior_and_every_coupling():
    flow = small(context=(3,))
    kernels = [weight for weight in flow.trainable_weights if weight.shape[0] == 3 and len(weight.shape) == 2]
    # Two steps in each of two levels, the prior of the first level, and the top prior.
    assert len(kernels) == 6


def test_temperature_scales_the_noise_of_every_level():
    flow = small(dtype="float32")
    cold = flow.sample(4, temperature=0.0, seed=1).numpy()
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), rtol=1e-5, atol=1e-4)
    warm = flow.sample(4, temperature=1.0, seed=1).numpy()
    assert np.abs(warm - cold).max() > 1.0


def test_mixed_precision_keeps_densities_in_float32():
    flow = small(dtype="mixed_bfloat16")
    density = flow.log_prob(testing.raw_rows(flow, 4))
    assert density.dtype == tf.float32
    assert np.all(np.isfinite(density))
