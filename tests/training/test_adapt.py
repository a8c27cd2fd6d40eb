"""adapt: what flows learn from data without gradients, in one streaming pass."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow
from flowzoo.layers import ActNorm, Dequantize, Logit, MultiScale, Squeeze, Standardize, Whiten
from flowzoo.training import adapt


def batches(x, size):
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_moments_are_exact_over_all_rows_of_a_dataset(rng, size):
    x = rng.normal([1e3, -2.0], [5.0, 0.01], (210, 2))
    flow = Flow([], (2,), preprocessing=[Standardize(dtype="float64")], dtype="float64")
    flow.adapt(batches(x, size))
    standardize = flow.preprocessing[0]
    np.testing.assert_allclose(standardize.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.exp(standardize.log_std), x.std(0), rtol=1e-9)


def test_arrays_and_datasets_give_the_same(rng):
    x = rng.normal(5.0, 3.0, (300, 3)).astype(np.float32)
    one, other = (flowzoo.create_model("realnvp", (3,), steps=2, hidden_units=(4,)) for _ in range(2))
    other.set_weights(one.get_weights())
    one.adapt(x, batch_size=300)
    other.adapt(batches(x, 32))
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_actnorm_sees_standardised_data_layer_by_layer(rng):
    flow = Flow([ActNorm(), ActNorm()], (2,), preprocessing=[Standardize()])
    x = rng.normal([50.0, -3.0], [10.0, 0.1], (400, 2)).astype(np.float32)
    flow.adapt(x)
    z = flow.encode(x).numpy()
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1.0, atol=1e-4)
    # After Standardize the first one is the identity, and after the first so is the second.
    np.testing.assert_allclose(flow.transforms[1].log_scale, 0.0, atol=1e-4)


def test_actnorm_inside_scales_is_set_too(rng):
    flow = Flow(
        [MultiScale([[Squeeze(), ActNorm()], [ActNorm()]])], (4, 4, 1), preprocessing=[Dequantize(), Logit()]
    )
    flow.adapt(rng.integers(0, 256, (200, 4, 4, 1)))
    z = flow.encode(rng.integers(0, 256, (2000, 4, 4, 1))).numpy()
    np.testing.assert_allclose(z.mean(), 0.0, atol=0.1)
    np.testing.assert_allclose(z.std(), 1.0, atol=0.1)


def test_standardize_behind_dequantize_sees_the_noise(rng):
    x = rng.integers(0, 2, (4000, 1))
    flow = Flow([], (1,), preprocessing=[Dequantize(1.0), Standardize()])
    flow.adapt(x)
    assert float(flow.preprocessing[1].mean[0]) == pytest.approx(x.mean() + 0.5, abs=0.02)
    # A fair coin has variance 1/4, a uniform 1/12.
    assert float(np.exp(2 * flow.preprocessing[1].log_std[0])) == pytest.approx(1 / 4 + 1 / 12, abs=0.02)


@pytest.mark.parametrize("batch_size", [7, 4000])
def test_whiten_behind_dequantize_sees_the_noise_of_all_batches(rng, batch_size):
    x = rng.integers(0, 50, (4000, 2)).cumsum(1)
    flow = Flow([], (2,), preprocessing=[Dequantize(1.0), Whiten()])
    flow.adapt(x, batch_size=batch_size)
    z = flow.encode(x).numpy()
    np.testing.assert_allclose(z.mean(0), np.zeros(2), atol=0.05)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.05)


def test_a_constant_column_of_discrete_data_is_fine(rng):
    flow = Flow([], (2,), preprocessing=[Dequantize(1.0), Standardize()])
    flow.adapt(np.stack([rng.integers(0, 9, 50), np.full(50, 3)], 1))
    assert float(flow.preprocessing[1].mean[1]) == pytest.approx(3.5, abs=0.15)


def test_it_is_done_once_and_not_again_after_loading(rng, tmp_path):
    flow = Flow([ActNorm()], (2,), preprocessing=[Standardize()])
    flow.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    first, second = rng.normal(0.0, 1.0, (64, 2)), rng.normal(100.0, 9.0, (64, 2))
    flow.fit(first, verbose=0)
    mean = flow.preprocessing[0].mean.numpy()
    flow.fit(second, verbose=0)
    np.testing.assert_array_equal(flow.preprocessing[0].mean, mean)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    loaded.fit(second, verbose=0)
    np.testing.assert_array_equal(loaded.preprocessing[0].mean, mean)


def test_adapt_itself_may_be_called_again(rng):
    flow = Flow([], (2,), preprocessing=[Standardize()])
    flow.adapt(rng.normal(0.0, 1.0, (64, 2)))
    flow.adapt(rng.normal(100.0, 1.0, (64, 2)))
    np.testing.assert_allclose(flow.preprocessing[0].mean, 100.0, atol=1.0)


def test_a_failed_adapt_leaves_the_flow_as_it_was():
    flow = Flow([ActNorm()], (2,), preprocessing=[Standardize()])
    with pytest.raises(ValueError, match="never change"):
        flow.adapt(np.ones((8, 2)))
    assert float(flow.adapted.numpy()) == 0.0
    np.testing.assert_array_equal(flow.preprocessing[0].mean, np.zeros(2))


def test_max_batches_bounds_the_batches_read(rng):
    x = np.concatenate([rng.normal(0, 1, (20, 2)), np.full((20, 2), np.nan)])
    flow = Flow([], (2,), preprocessing=[Standardize()])
    flow.adapt(batches(x, 10), max_batches=2)
    np.testing.assert_allclose(flow.preprocessing[0].mean, x[:20].mean(0), rtol=1e-5)


def test_an_endless_dataset_is_not_read_for_ever(rng, monkeypatch):
    monkeypatch.setattr("flowzoo.training.adapt._ENDLESS_BATCHES", 3)
    read = []
    endless = tf.data.Dataset.from_tensors(rng.normal(size=(4, 2))).repeat()
    counted = endless.map(lambda x: tf.numpy_function(lambda a: (read.append(1), a)[1], [x], tf.float64))
    flow = Flow([], (2,), preprocessing=[Standardize()])
    flow.adapt(counted.map(lambda x: tf.ensure_shape(x, [4, 2])))
    assert 3 <= len(read) <= 5


def test_the_contexts_reach_the_layers(rng):
    class Spy(ActNorm):
        def adapt(self, x, context=None):
            type(self).seen = context
            return super().adapt(x, context)

    x, context = rng.normal(size=(8, 2)), np.arange(24.0).reshape(8, 3)
    flow = Flow([Spy()], (2,), (3,))
    flow.adapt(x, context)
    np.testing.assert_array_equal(np.sort(np.ravel(Spy.seen)), np.arange(24.0))


def test_rows_and_contexts_stay_together_in_the_sample_of_a_long_stream(rng):
    class Spy(ActNorm):
        def adapt(self, x, context=None):
            type(self).seen = (x.numpy(), context.numpy())
            return super().adapt(x, context)

    x = rng.normal(size=(5000, 1)).astype(np.float32)
    flow = Flow([Spy()], (1,), (1,))
    flow.adapt(tf.data.Dataset.from_tensor_slices((x, 2 * x)).batch(256))
    rows, contexts = Spy.seen
    assert len(rows) == 2048
    np.testing.assert_array_equal(contexts, 2 * rows)
    # A uniform sample of the stream, not its beginning.
    positions = np.searchsorted(np.sort(x[:, 0]), rows[:, 0])
    order = np.argsort(x[:, 0])[positions]
    assert abs(order.mean() - 2500) < 4 * 5000 / np.sqrt(12 * 2048)


def test_the_sample_is_independent_of_data_drawn_with_seed_0():
    x = np.random.default_rng(0).random((20_000, 1)).astype("float32")
    sample = adapt._Reservoir(1000)
    sample.offer(x, None)
    rows, _ = sample.rows()
    np.testing.assert_allclose(rows.mean(), 0.5, atol=0.04)


# -- absurd values -------------------------------------------------------------------------------
def sensors(rng, rows=3000):
    mixed = rng.normal(size=(rows, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]]
    return mixed * [1.0, 20.0, 0.1] + [5.0, 100.0, 0.0]


@pytest.mark.parametrize("preprocessing", ["standardize", "whiten"])
@pytest.mark.parametrize("as_dataset", [False, True])
def test_scales_are_those_of_the_other_rows_and_a_warning_names_them(rng, preprocessing, as_dataset):
    x = sensors(rng)
    spoilt = x.copy()
    spoilt[[3, 500, 1500, 2500], 1] = 1e12
    clean, flow = (
        flowzoo.create_model("realnvp", (3,), preprocessing=preprocessing, dtype="float64", steps=1)
        for _ in range(2)
    )
    clean.adapt(np.delete(x, [3, 500, 1500, 2500], axis=0))
    data = tf.data.Dataset.from_tensor_slices(spoilt).batch(100) if as_dataset else spoilt
    with pytest.warns(UserWarning, match=r"4 of 3000 rows.*first: row 3.*column 1 \(4 rows, up to"):
        flow.adapt(data)
    np.testing.assert_allclose(flow.log_prob(x), clean.log_prob(x), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_rows_with_absurd_values_do_not_train(rng, jit_compile):
    x, test, results = sensors(rng), sensors(rng, 2000), []
    spoilt = x.copy()
    spoilt[[3, 500, 1500, 2500], 1] = [1e12, -1e9, 1e30, 1e15]
    for rows in (x, spoilt):
        keras.utils.set_random_seed(0)
        flow = flowzoo.create_model("realnvp", (3,), steps=2, hidden_units=(16,))
        flow.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history = flow.fit(rows, epochs=3, batch_size=200, verbose=0).history
        results.append((history["nll"][-1], float(-np.mean(flow.log_prob(test)))))
    np.testing.assert_allclose(results[0], results[1], rtol=0.02)


def test_an_absurd_row_still_has_a_density_of_its_own(rng):
    flow = flowzoo.create_model("realnvp", (3,), steps=1)
    flow.adapt(sensors(rng))
    row = np.array([[5.0, 1e12, 0.0]])
    assert float(flow.score(row)["log_prob"][0]) < -1e6
