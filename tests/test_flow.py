"""Flow as a density: log_prob, score, sample, encode, decode, distribution."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import flowzoo
from flowzoo import Flow, bases, random
from flowzoo.conditioners import MLP
from flowzoo.layers import ActNorm, AffineCoupling, Permute, Sigmoid, Standardize
from flowzoo.testing import check_density, check_samples, make_flow, perturb

SMALL = {"steps": 2, "hidden_units": (4,)}


@pytest.fixture(scope="module")
def flow():
    return make_flow("realnvp", (2,), dtype="float32", **SMALL)


@pytest.fixture(scope="module")
def conditional():
    return make_flow("realnvp", (2,), (3,), dtype="float32", **SMALL)


@pytest.fixture(scope="module")
def image_flow():
    layers = [ActNorm(), Permute("reverse")]
    flow = Flow(layers, (4, 4, 2), preprocessing=[flowzoo.layers.Dequantize(), flowzoo.layers.Logit()])
    perturb(flow, 0.1)
    return flow


@pytest.fixture
def x(rng):
    return rng.normal(3.0, 2.0, (5, 2)).astype(np.float32)


@pytest.fixture
def context(rng):
    return rng.normal(size=(5, 3)).astype(np.float32)


class CountingMLP(MLP):
    """An MLP that counts its calls."""

    calls = 0

    def call(self, x, context=None, training=False):
        type(self).calls += 1
        return super().call(x, context=context, training=training)


@pytest.fixture
def counted():
    """A flow of two couplings whose conditioners share a count of their calls."""
    CountingMLP.calls = 0
    flow = Flow([AffineCoupling(CountingMLP((4,)), swap=swap) for swap in (False, True)], (4,))
    perturb(flow, 0.3)
    return flow


# -- log_prob --------------------------------------------------------------------------------
def test_a_flow_without_layers_is_its_base(rng):
    x = rng.normal(size=(4, 3)).astype(np.float32)
    wanted = tfp.distributions.MultivariateNormalDiag(tf.zeros(3)).log_prob(x)
    np.testing.assert_allclose(Flow([], (3,)).log_prob(x), wanted, rtol=1e-6)


def test_log_prob_is_the_base_at_the_latents_plus_the_log_det(flow, x):
    z, log_det = flow.bijector().inverse_and_log_det(x)
    wanted = tfp.distributions.MultivariateNormalDiag(tf.zeros(2)).log_prob(z) + log_det
    np.testing.assert_allclose(flow.log_prob(x), wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", [np.float64, np.int32, np.uint8, list, tf.constant])
def test_log_prob_takes_any_numbers(flow, kind):
    rows = [[1, 2], [3, 4]]
    given = np.asarray(rows, kind) if isinstance(kind, type) and kind is not list else kind(rows)
    np.testing.assert_array_equal(flow.log_prob(given), flow.log_prob(np.asarray(rows, np.float32)))


def test_log_prob_of_no_rows_is_empty(flow, image_flow):
    assert flow.log_prob(np.zeros((0, 2))).shape == (0,)
    assert image_flow.log_prob(np.zeros((0, 4, 4, 2))).shape == (0,)


def test_log_prob_sees_new_weights(x):
    flow = Flow([ActNorm()], (2,))
    before = flow.log_prob(x)
    flow.transforms[0].log_scale.assign([1.0, 0.0])
    flow.transforms[0].shift.assign([0.0, 1.0])
    assert not np.any(flow.log_prob(x) == before)


def test_log_prob_works_inside_a_tf_function(flow, conditional, x, context):
    graph = tf.function(lambda rows: flow.log_prob(rows))
    np.testing.assert_allclose(graph(x), flow.log_prob(x), rtol=1e-5)
    dynamic = tf.function(
        lambda rows, c: conditional.log_prob(rows, c),
        input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None, 3])],
    )
    np.testing.assert_allclose(dynamic(x, context), conditional.log_prob(x, context), rtol=1e-5)


def test_one_context_vector_counts_for_every_row(conditional, x, context):
    repeated = np.repeat(context[:1], 5, axis=0)
    one, many = conditional.log_prob(x, context[0]), conditional.log_prob(x, repeated)
    np.testing.assert_array_equal(one, many)


def test_log_prob_runs_each_conditioner_once(counted, rng):
    counted.log_prob(rng.normal(size=(4, 4)))
    assert CountingMLP.calls == 2


def test_the_tfp_distribution_runs_each_conditioner_once_in_a_graph(counted, rng):
    tf.function(lambda x: counted.distribution().log_prob(x))(rng.normal(size=(4, 4)).astype(np.float32))
    assert CountingMLP.calls == 2


def test_samples_run_each_conditioner_once(counted):
    counted.sample(4)
    assert CountingMLP.calls == 2


def test_bits_per_dim_are_nats_by_dimensions_and_ln_2(image_flow, rng):
    x = rng.integers(0, 256, (3, 4, 4, 2))
    wanted = -image_flow.log_prob(x) / (32 * math.log(2))
    np.testing.assert_allclose(image_flow.bits_per_dim(x), wanted, rtol=1e-6)


def test_uniform_pixels_cost_eight_bits_per_dim(rng):
    """256 equally likely values are 8 bits: the unit that papers report."""
    pixels = [flowzoo.layers.Dequantize(), flowzoo.layers.Logit()]
    flow = Flow([Sigmoid()], (4, 4, 1), preprocessing=pixels, base=bases.Uniform())
    bits = flow.bits_per_dim(rng.integers(0, 256, (8, 4, 4, 1)))
    np.testing.assert_allclose(bits, 8.0, atol=1e-3)


# -- score -----------------------------------------------------------------------------------
def test_score_is_log_prob_for_good_rows(flow, x):
    score = flow.score(x)
    np.testing.assert_allclose(score["log_prob"], flow.log_prob(x), rtol=1e-6)
    assert score["valid"].numpy().tolist() == [True] * 5
    assert set(score) == {"log_prob", "valid"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_score_says_which_rows_are_bad_and_stays_finite(flow, x, bad):
    broken = x.copy()
    broken[2, 1] = bad
    score = flow.score(broken)
    assert score["valid"].numpy().tolist() == [True, True, False, True, True]
    assert float(score["log_prob"][2]) == np.finfo(np.float32).min
    good = [0, 1, 3, 4]
    np.testing.assert_array_equal(score["log_prob"].numpy()[good], flow.score(x)["log_prob"].numpy()[good])


def test_score_treats_a_bad_context_as_a_bad_row(conditional, x, context):
    context[1, 0] = np.nan
    assert conditional.score(x, context)["valid"].numpy().tolist() == [True, False, True, True, True]


def test_score_of_a_row_too_far_for_floats_is_not_valid(flow):
    score = flow.score(np.full((1, 2), 1e38, np.float32))
    assert not score["valid"][0]
    assert np.isfinite(score["log_prob"][0])


def test_score_of_images_has_bits_per_dim(image_flow, rng):
    x = rng.integers(0, 256, (3, 4, 4, 2)).astype(np.float32)
    x[1, 0, 0, 0] = np.nan
    score = image_flow.score(x)
    np.testing.assert_allclose(
        score["bits_per_dim"].numpy()[[0, 2]], image_flow.bits_per_dim(x[[0, 2]]), rtol=1e-6
    )
    assert float(score["bits_per_dim"][1]) == np.finfo(np.float32).max


# -- sample ----------------------------------------------------------------------------------
def test_the_number_of_samples_may_come_from_n_seeds_or_contexts(flow, conditional, context):
    assert flow.sample(3).shape == (3, 2)
    assert flow.sample(seed=random.row_seeds(0, 4)).shape == (4, 2)
    assert conditional.sample(context=context).shape == (5, 2)
    assert conditional.sample(3, context[0]).shape == (3, 2)
    assert flow.sample(0).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one number of samples; got {'n': None}"),
        ({"n": 3, "seed": [1, 2]}, "got {'n': 3, 'seed': 2}"),
        ({"n": -1}, "n must be >= 0; got -1"),
        ({"n": 2.5}, "n must be a whole number; got 2.5"),
        ({"n": "3"}, "n must be a whole number; got '3'"),
    ],
)
def test_counts_that_disagree_are_refused(flow, arguments, message):
    with pytest.raises(ValueError, match=message):
        flow.sample(**arguments)


def test_contexts_and_n_must_agree(conditional, context):
    with pytest.raises(ValueError, match=r"got {'n': 3, 'context': 5}"):
        conditional.sample(3, context)


@pytest.mark.parametrize(
    "arguments", [{"temperature": [1.0, 2.0]}, {"seed": [[1, 2, 3]]}, {"temperature": "hot"}, {"seed": 0.5}]
)
def test_bad_temperatures_and_seeds_are_a_value_error(flow, arguments):
    with pytest.raises(ValueError, match=r"temperature|seed"):
        flow.sample(3, **arguments)


def test_samples_differ_at_each_call_unless_a_seed_is_given(flow):
    keras.utils.set_random_seed(5)
    first, second = flow.sample(4).numpy(), flow.sample(4).numpy()
    assert not np.any(first == second)
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(flow.sample(4), first)
    np.testing.assert_array_equal(flow.sample(4, seed=1), flow.sample(4, seed=1))


def test_samples_of_a_traced_function_differ_at_each_call(flow):
    draw = tf.function(lambda: flow.sample(3), autograph=False)
    assert not np.any(draw().numpy() == draw().numpy())


def test_temperature_scales_the_latents_of_each_row(flow):
    temperature = np.array([0.0, 0.5, 1.0], np.float32)
    cold = flow.sample(3, temperature=temperature, seed=1)
    z = flow.encode(flow.sample(3, seed=1))
    np.testing.assert_allclose(cold, flow.decode(z * temperature[:, None]), atol=1e-4)
    np.testing.assert_allclose(flow.sample(2, temperature=0.0), flow.decode(np.zeros((2, 2))), atol=1e-6)


def test_seeds_may_be_negative_or_large(flow):
    samples = [flow.sample(2, seed=seed).numpy() for seed in (-1, 0, 2**40, 2**63 - 1)]
    assert len({sample.tobytes() for sample in samples}) == 4


def test_images_are_sampled_within_their_pixels(image_flow):
    x = image_flow.sample(64, seed=0).numpy()
    assert x.shape == (64, 4, 4, 2)
    assert x.min() >= 0.0
    assert np.floor(x).max() <= 255


# -- encode and decode -----------------------------------------------------------------------
def test_decode_undoes_encode(flow, conditional, x, context):
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-4)
    z = conditional.encode(x, context)
    np.testing.assert_allclose(conditional.decode(z, context), x, atol=1e-4)


def test_encode_and_decode_of_no_rows_are_empty(flow):
    assert flow.encode(np.zeros((0, 2))).shape == (0, 2)
    assert flow.decode(np.zeros((0, 2))).shape == (0, 2)


def test_adapted_data_have_standard_latents(rng):
    flow = Flow([], (3,), preprocessing=[Standardize()])
    x = rng.normal([1e3, -5.0, 0.0], [10.0, 0.1, 1.0], (2000, 3))
    flow.adapt(x)
    z = flow.encode(x).numpy()
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(z.std(0), 1.0, atol=1e-3)


# -- bases, dtypes ---------------------------------------------------------------------------
def test_a_uniform_base_gives_a_density_too():
    flow = make_flow("realnvp", (2,), base="uniform", **SMALL)
    assert isinstance(flow.base, bases.Uniform)
    check_density(flow)
    check_samples(flow)


def test_mixed_precision_keeps_densities_in_float32(rng):
    flow = flowzoo.create_model("realnvp", (4,), dtype="mixed_bfloat16", **SMALL)
    x = rng.normal(size=(8, 4)).astype(np.float32)
    assert flow.log_prob(x).dtype == tf.float32
    perturb(flow, 0.1)
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-4)


def test_a_float64_flow_computes_in_float64(rng):
    flow = make_flow("realnvp", (2,), dtype="float64", **SMALL)
    x = rng.normal(size=(4, 2))
    assert flow.log_prob(x).dtype == flow.sample(2).dtype == tf.float64
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-12)


def test_the_global_dtype_policy_is_unchanged():
    flowzoo.create_model("realnvp", (2,), dtype="float64", **SMALL)
    assert keras.config.dtype_policy().name == "float32"


def test_raw_images_are_uint8_and_vectors_floats(flow, image_flow):
    assert (flow.input_dtype, image_flow.input_dtype) == ("float32", "uint8")


# -- as a Keras model and a TFP distribution ---------------------------------------------------
def test_called_it_gives_log_densities(flow, conditional, x, context):
    np.testing.assert_allclose(flow(x), flow.log_prob(x), rtol=1e-5)
    wanted = conditional.log_prob(x, context)
    np.testing.assert_allclose(conditional((x, context)), wanted, rtol=1e-5)
    np.testing.assert_allclose(conditional(x, context=context), wanted, rtol=1e-5)
    assert flow.compute_output_shape((None, 2)) == (None,)


def test_all_weights_are_made_by_the_constructor(x):
    flow = flowzoo.create_model("realnvp", (2,), **SMALL)
    before = [variable.path for variable in flow.variables]
    flow.log_prob(x)
    flow.sample(2)
    assert [variable.path for variable in flow.variables] == before


def test_the_distribution_is_the_flow(flow, conditional, x, context):
    np.testing.assert_allclose(flow.distribution().log_prob(x), flow.log_prob(x), rtol=1e-5)
    distribution = conditional.distribution(context)
    assert (distribution.batch_shape, distribution.event_shape) == ((5,), (2,))
    np.testing.assert_allclose(distribution.log_prob(x), conditional.log_prob(x, context), rtol=1e-5)


def test_config_survives_json(conditional, image_flow):
    for flow in (conditional, image_flow):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(flow)))
        copy = keras.saving.deserialize_keras_object(config)
        assert (copy.event_shape, copy.context_shape) == (flow.event_shape, flow.context_shape)
        assert (copy.architecture, copy.name) == (flow.architecture, flow.name)
        assert [w.shape for w in copy.weights] == [w.shape for w in flow.weights]


def test_a_hand_assembled_flow_is_saved_by_keras_alone(tmp_path, x):
    flow = Flow([ActNorm(), AffineCoupling(MLP((4,))), Permute()], (2,), preprocessing=[Standardize()])
    perturb(flow, 0.3)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    assert loaded.architecture is None


def test_an_unknown_export_format_is_refused(flow, tmp_path):
    with pytest.raises(ValueError, match="got 'pickle'"):
        flow.export(tmp_path, format="pickle")


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "uint8"),
        ({"pixel_levels": 17}, "uint8"),
        ({"pixel_levels": 65536}, "float32"),
        ({"preprocessing": "standardize", "dequantize": 1.0}, "float32"),
        ({"preprocessing": "standardize", "dequantize": 1 / 255}, "float32"),
        ({"preprocessing": "standardize"}, "float32"),
    ],
    ids=str,
)
def test_only_pixels_of_up_to_256_levels_are_bytes(options, dtype):
    flow = flowzoo.create_model("realnvp", (4, 4, 1), levels=1, channels=2, blocks=0, **options)
    assert flow.input_dtype == dtype
