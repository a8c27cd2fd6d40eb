"""Promises of all bases; learned weights are moved away from their initial values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import bases, random, testing

NAMES = {
    "normal": bases.Normal,
    "uniform": bases.Uniform,
    "diagonal_gaussian": bases.DiagonalGaussian,
    "full_gaussian": bases.FullGaussian,
    "conditional_gaussian": bases.ConditionalGaussian,
    "student_t": bases.StudentT,
    "mixture": bases.Mixture,
}
LEARNED = [kind for name, kind in NAMES.items() if name not in ("normal", "uniform")]


def built(kind, event=(2,), dtype="float64", noise=0.3):
    context = (None, 3) if kind is bases.ConditionalGaussian else None
    base = kind(dtype=dtype)
    base.build((None, *event), context)
    testing.perturb(base, noise)
    return base


def context_for(base, rows):
    if not isinstance(base, bases.ConditionalGaussian):
        return None
    return tf.repeat(tf.constant([[1.0, -2.0, 0.5]], base.variable_dtype), rows, axis=0)


def draw(base, rows, temperature=1.0):
    seeds = tf.constant(random.row_seeds(0, rows))
    return base.sample(seeds, tf.fill([rows], temperature), context_for(base, rows)).numpy()


@pytest.mark.parametrize("event", [(3,), (2, 2, 3)])
@pytest.mark.parametrize("kind", LEARNED)
def test_log_prob_is_tfps(rng, kind, event):
    base = built(kind, event)
    context = context_for(base, 5)
    z = rng.normal(size=(4, 5, *event)) * 3
    wanted = base.distribution(context).log_prob(z)
    assert wanted.shape == (4, 5)
    np.testing.assert_allclose(base.log_prob(tf.constant(z), context), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", LEARNED)
def test_the_density_integrates_to_1_in_two_dimensions(kind):
    base = built(kind)
    samples = draw(base, 4000)
    # A Student-t's mass outside this box is below 1e-4, as its degrees of freedom are above 20 here.
    reach = 3 * np.abs(samples).max()
    axis = np.linspace(-reach, reach, 500)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_prob = base.log_prob(tf.constant(grid), context_for(base, len(grid)))
    assert np.sum(np.exp(log_prob)) * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", LEARNED)
def test_samples_follow_tfps_distribution(kind):
    base, count = built(kind, (3,)), 20_000
    ours = draw(base, count)
    context = context_for(base, 1)
    theirs = base.distribution(context).sample(count, seed=(1, 2)).numpy().reshape(count, 3)
    # Along the axes and two diagonals, which see the correlations: the Kolmogorov-Smirnov test at 0.1 %.
    for direction in [*np.eye(3), np.ones(3), np.array([1.0, -1.0, 0.0])]:
        ours_, theirs_ = np.sort(ours @ direction), np.sort(theirs @ direction)
        both = np.concatenate([ours_, theirs_])
        distance = np.abs(np.searchsorted(ours_, both, "right") - np.searchsorted(theirs_, both, "right"))
        assert distance.max() / count < 1.95 * np.sqrt(2 / count)
    rows = context_for(base, count)
    entropies = [-np.mean(base.log_prob(tf.constant(z), rows)) for z in (ours, theirs)]
    assert entropies[0] == pytest.approx(entropies[1], abs=0.05)


@pytest.mark.parametrize("kind", LEARNED)
def test_new_ones_are_near_the_standard_normal(kind):
    base = kind(dtype="float64")
    base.build((None, 2), (None, 3) if kind is bases.ConditionalGaussian else None)
    z = draw(base, 20_000)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.5 if kind is bases.Mixture else 0.03)
    np.testing.assert_allclose(z.std(0), 1, atol=0.25 if kind is bases.Mixture else 0.06)


@pytest.mark.parametrize("kind", LEARNED)
def test_a_row_depends_on_its_seed_and_temperature_alone(kind):
    base = built(kind, (3,), dtype="float32")
    seeds = tf.constant(random.row_seeds(3, 5))
    among = base.sample(seeds, tf.constant([0.0, 0.5, 1.0, 1.5, 2.0]), context_for(base, 5))
    for row, temperature in ((1, 0.5), (4, 2.0)):
        alone = base.sample(seeds[row : row + 1], tf.constant([temperature]), context_for(base, 1))
        np.testing.assert_allclose(alone[0], among[row], rtol=1e-5, atol=1e-6)
    assert base.sample(seeds[:0], tf.zeros([0]), context_for(base, 0)).shape == (0, 3)


@pytest.mark.parametrize("kind", LEARNED)
def test_colder_samples_are_likelier(kind):
    base = built(kind, (4,))
    rows = context_for(base, 3000)
    means = [np.mean(base.log_prob(tf.constant(draw(base, 3000, t)), rows)) for t in (0.3, 0.7, 1.0, 1.5)]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("kind", LEARNED)
def test_far_latents_have_finite_densities_and_gradients(rng, kind):
    base = built(kind, (3,), dtype="float32")
    z = tf.constant(rng.normal(size=(20, 3)) * np.repeat([1.0, 1e6], 10)[:, None], tf.float32)
    weights = [weight.value for weight in base.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_prob = base.log_prob(z, context_for(base, 20))
    for tensor in (log_prob, *tape.gradient(log_prob, [z, *weights])):
        assert np.isfinite(tf.convert_to_tensor(tensor)).all()


@pytest.mark.parametrize("kind", LEARNED)
def test_every_weight_learns(rng, kind):
    base = built(kind, (3,))
    with tf.GradientTape() as tape:
        log_prob = base.log_prob(tf.constant(rng.normal(size=(50, 3)) ** 3), context_for(base, 50))
    for gradient in tape.gradient(log_prob, [weight.value for weight in base.trainable_weights]):
        assert np.any(tf.convert_to_tensor(gradient))


@pytest.mark.parametrize("kind", LEARNED)
def test_onnx_gives_the_same(rng, kind, tmp_path):
    tf2onnx = pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    base, rows = built(kind, (3,), dtype="float32"), 6
    context = context_for(base, rows)
    given = [] if context is None else [context]
    inputs = {
        "z": tf.constant(rng.normal(size=(rows, 3)), tf.float32),
        "seeds": tf.constant(random.row_seeds(1, rows)),
        "temperature": tf.linspace(0.5, 1.5, rows),
        **({} if context is None else {"context": context}),
    }

    def function(z, seeds, temperature, *context):
        return base.log_prob(z, *context), base.sample(seeds, temperature, *context)

    signature = [tf.TensorSpec([None, *t.shape[1:]], t.dtype, name) for name, t in inputs.items()]
    traced = tf.function(function, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=18)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    log_prob, samples = function(inputs["z"], inputs["seeds"], inputs["temperature"], *given)
    np.testing.assert_allclose(got[0], log_prob, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[1], samples, rtol=1e-5, atol=1e-5)


# -- in a flow -----------------------------------------------------------------------------
SMALL = {"steps": 1, "hidden_units": (4,)}


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_has_its_base_by_name(name):
    flow = flowzoo.create_model("realnvp", (2,), (3,), base=name, **SMALL)
    assert type(flow.base) is NAMES[name]
    assert flow.options["base"] == name


@pytest.mark.parametrize("kind", LEARNED)
def test_a_flow_with_it_saves_exports_and_keeps_its_rows_apart(kind):
    name = next(name for name, other in NAMES.items() if other is kind)
    context = (2,) if kind is bases.ConditionalGaussian else None
    flow = testing.make_flow("realnvp", (3,), context, dtype="float32", base=name, **SMALL)
    for check in (testing.check_saving, testing.check_saved_model, testing.check_rows):
        check(flow)


def test_an_instance_brings_its_options_and_survives_saving():
    base = bases.Mixture(components=3, spread=0.2, dtype="float64")
    flow = testing.make_flow("realnvp", (2,), base=base, **SMALL)
    assert flow.base is base
    assert (flow.base.components, flow.base.spread) == (3, 0.2)
    testing.check_saving(flow)


def test_an_instance_of_the_uniform_base_is_reached_through_a_sigmoid():
    flow = flowzoo.create_model("realnvp", (2,), base=bases.Uniform(), **SMALL)
    assert isinstance(flow.transforms[-1], flowzoo.layers.Sigmoid)


def test_images_may_have_any_base(rng):
    image = {"levels": 1, "channels": 4, "blocks": 0}
    flow = flowzoo.create_model("realnvp", (4, 4, 1), base="full_gaussian", **image)
    assert flow.base.loc.shape == (16,)
    assert flow.sample(2).shape == (2, 4, 4, 1)


def test_invalid_bases_are_refused():
    with pytest.raises(ValueError, match=r"got 'mixtur'\. Did you mean 'mixture'"):
        flowzoo.create_model("realnvp", (2,), base="mixtur", **SMALL)
    with pytest.raises(ValueError, match=r"base must be one of .*; got 3"):
        flowzoo.create_model("realnvp", (2,), base=3, **SMALL)
    with pytest.raises(ValueError, match="needs a context: give create_model a context_shape"):
        flowzoo.create_model("realnvp", (2,), base="conditional_gaussian", **SMALL)
    with pytest.raises(ValueError, match=r"base is float32 and the flow float64: make .* dtype='float64'"):
        flowzoo.create_model("realnvp", (2,), base=bases.Mixture(), dtype="float64", **SMALL)
    used = flowzoo.create_model("realnvp", (2,), base="mixture", **SMALL).base
    with pytest.raises(ValueError, match="belongs to another flow"):
        flowzoo.create_model("realnvp", (2,), base=used, **SMALL)


def test_a_flow_learns_its_base():
    x = np.random.default_rng(0).standard_t(2.5, size=(2000, 2)).astype(np.float32)
    flow = flowzoo.create_model("radial", (2,), steps=1, base=bases.StudentT(df=30.0))
    flow.compile(keras.optimizers.Adam(5e-2))
    flow.fit(x, batch_size=200, epochs=5, verbose=0)
    assert np.all(flow.base.df < 10.0)
