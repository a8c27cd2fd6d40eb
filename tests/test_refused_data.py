"""Data that fit refuses or warns about before the first step: rows, contexts and pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo import Flow
from flowzoo.conditioners import MLP
from flowzoo.layers import ActNorm, AffineCoupling, Dequantize, Logit, Standardize


def make(context=None, event=(2,), **options):
    """A flow of one coupling, compiled to run eagerly, which is fastest for a few small steps."""
    keras.utils.set_random_seed(0)
    layers = [ActNorm(), AffineCoupling(MLP((4,)))]
    flow = Flow(layers, event, context, preprocessing=[Standardize()])
    flow.compile(keras.optimizers.Adam(0.05), run_eagerly=True, **options)
    return flow


def make_image_flow():
    flow = Flow([ActNorm()], (4, 4, 1), preprocessing=[Dequantize(), Logit()])
    flow.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return flow


@pytest.fixture
def x(rng):
    first = rng.normal(3.0, 2.0, (64, 1))
    return np.concatenate([first, np.sin(first) + rng.normal(0, 0.2, (64, 1))], axis=1).astype(np.float32)


@pytest.fixture
def context(rng):
    return rng.normal(size=(64, 3)).astype(np.float32)


def batches(*arrays, size=16):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(size)


def weights_of(flow):
    return [weight.copy() for weight in flow.get_weights()]


def assert_same_weights(flow, wanted):
    for one, other in zip(flow.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def bad_data():
    rows = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    nan, infinite, constant = rows.copy(), rows.copy(), rows.copy()
    nan[3, 1] = nan[5, 1] = nan[5, 0] = np.nan
    infinite[7, 0] = np.inf
    constant[:, 1] = 4.0
    return {
        "nan": (nan, r"x holds NaN or infinity in 2 of 8 rows \(first: row 3\); by column: 1 \(2\), 0 \(1\)"),
        "infinity": (infinite, r"in 1 of 8 rows \(first: row 7\); by column: 0 \(1\).*Drop or impute"),
        "constant": (constant, r"1 column\(s\) of x never change: 1 \(always 4\).*drop them.*dequantize="),
        "empty": (rows[:0], "x holds no rows. Check the path"),
        "event shape": (rows[:, :1], r"x must have shape \(N, 2\); got \(8, 1\)"),
        "rank": (rows[..., None], r"x must have shape \(N, 2\); got \(8, 2, 1\)"),
        "one row": (rows[0], r"x must have shape \(N, 2\); got \(2,\).*x\[None\]"),
        "words": (rows.astype(str), "x must hold numbers; got dtype string"),
        "truth values": (rows > 0, "x must hold numbers; got dtype bool"),
        "ragged": ([[1.0, 2.0], [3.0]], "an array of numbers with equal rows"),
        "nothing": (None, "x must be an array of numbers"),
        "generator": ((rows for _ in range(2)), "generator can be read only once.*from_generator"),
        "nan dataset": (batches(nan, size=2), r"2 of 8 rows \(first: row 3\)"),
        "empty dataset": (batches(rows[:0]), "x holds no rows"),
        "unbatched dataset": (tf.data.Dataset.from_tensor_slices(rows), r"got \(2,\).*batch the dataset"),
        "words dataset": (batches(rows.astype(str)), "the dataset yields dtype string"),
        "dict dataset": (batches({"x": rows}), r"must yield x or \(x, context\); it yields"),
        "pairs": (batches(rows, rows), r"takes no context.*dataset.map\(lambda x, y: x\)"),
    }


@pytest.mark.parametrize("case", bad_data())
def test_bad_data_are_refused_before_the_first_step(case):
    data, message = bad_data()[case]
    flow = make()
    before = weights_of(flow)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        flow.fit(data, verbose=0)
    assert_same_weights(flow, before)
    assert int(flow.optimizer.iterations.numpy()) == 0


def test_bad_data_are_refused_in_a_second_fit_too(x):
    flow = make()
    flow.fit(x, verbose=0)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 64 rows"):
        flow.fit(x, verbose=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"conditional: pass a context of shape \(N, 3\)"),
        (np.zeros((64, 2), "f"), r"context must have shape \(N, 3\); got \(64, 2\)"),
        (np.zeros((63, 3), "f"), "context has 63 rows and x has 64"),
        (np.full((64, 3), np.nan, "f"), "context holds NaN or infinity in 64 of 64 rows"),
        (np.full((64, 3), "a"), "context must hold numbers"),
    ],
)
def test_bad_contexts_are_refused_before_the_first_step(x, given, message):
    flow = make(context=(3,))
    with pytest.raises(ValueError, match=message):
        flow.fit(x, given, verbose=0)
    assert int(flow.optimizer.iterations.numpy()) == 0


def test_a_dataset_without_contexts_is_refused_by_a_conditional_flow(x):
    with pytest.raises(ValueError, match="conditional: pass a context"):
        make(context=(3,)).fit(batches(x), verbose=0)


def test_an_array_of_contexts_next_to_a_dataset_is_refused(x, context):
    with pytest.raises(ValueError, match="dataset carries its own context"):
        make(context=(3,)).fit(batches(x, context), context, verbose=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: pixels - 1, r"must lie in \[0, 256\]; it spans -1 to.*raw pixels 0..255"),
        (lambda pixels: pixels * 2, r"must lie in \[0, 256\]; it spans 0 to 5"),
        (lambda pixels: pixels / 255, r"pixels scaled to 0..1.*x \* 255"),
        (lambda pixels: pixels[..., 0], r"got \(16, 4, 4\).*channel axis is missing.*x\[..., None\]"),
        (lambda pixels: pixels[:, :3], r"x must have shape \(N, 4, 4, 1\); got \(16, 3, 4, 1\)"),
    ],
)
def test_bad_pixels_are_refused_before_the_first_step(rng, change, message):
    flow = make_image_flow()
    images = rng.integers(0, 256, (16, 4, 4, 1))
    images[0, 0, 0, 0], images[0, 0, 1, 0] = 0, 255
    with pytest.raises(ValueError, match=f"(?s){message}"):
        flow.fit(change(images), verbose=0)
    assert int(flow.optimizer.iterations.numpy()) == 0


def test_bad_validation_data_are_refused(x):
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2\); got"):
        make().fit(x, validation_data=(x[:, :1],), verbose=0)


def test_whole_numbers_without_dequantize_give_a_warning(rng):
    with pytest.warns(UserWarning, match=r"columns \[1\] hold whole numbers only.*dequantize=\[0, 1\]"):
        make().fit(np.stack([rng.normal(size=200), rng.integers(0, 5, 200)], 1), verbose=0)
