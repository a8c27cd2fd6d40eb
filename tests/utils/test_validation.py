import numpy as np
import pytest
import tensorflow as tf

from flowzoo.utils import validation


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_rows_of_any_numbers_become_the_flows_dtype(kind):
    rows = validation.as_rows(np.ones((3, 2), kind), (2,), "float32", "x")
    assert rows.dtype == tf.float32
    assert rows.shape == (3, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((3, 3)), r"x must have shape \(N, 2\); got \(3, 3\)\."),
        (np.ones((3, 2, 1)), r"x must have shape \(N, 2\); got \(3, 2, 1\)"),
        (np.ones(2), r"got \(2,\)\. This is one row without a batch axis: pass x\[None\]"),
        (1.0, r"x must have shape \(N, 2\); got \(\)"),
        ([["a", "b"]], "x must hold numbers; got dtype string. Encode it as numbers first"),
        (np.ones((3, 2), complex), "x must hold numbers; got dtype complex128"),
        ([[1.0], [1.0, 2.0]], "x must be an array of numbers with equal rows; got list"),
        (object(), "x must be an array of numbers"),
        ({"a": 1}, "x must be an array of numbers"),
    ],
)
def test_wrong_rows_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        validation.as_rows(value, (2,), "float32", "x")


def test_a_missing_channel_axis_is_reported_with_the_fix():
    with pytest.raises(ValueError, match=r"The channel axis is missing: pass x\[\.\.\., None\]"):
        validation.as_rows(np.ones((3, 4, 4)), (4, 4, 1), "float32", "x")


def test_shapes_unknown_in_a_trace_are_checked_when_they_run():
    @tf.function(input_signature=[tf.TensorSpec(None)])
    def rows(x):
        checked = validation.as_rows(x, (2,), "float32", "x")
        assert checked.shape.as_list() == [None, 2]
        return checked

    assert rows(tf.ones([3, 2])).shape == (3, 2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        rows(tf.ones([3, 3]))


def test_one_context_applies_to_every_row():
    context = validation.as_context([1.0, 2.0, 3.0], (3,), 4, "float32")
    np.testing.assert_array_equal(context, np.tile([1.0, 2.0, 3.0], (4, 1)))


def test_no_context_is_none():
    assert validation.as_context(None, None, 4, "float32") is None


@pytest.mark.parametrize(
    ("context", "shape", "message"),
    [
        (None, (3,), r"conditional: pass a context of shape \(N, 3\)"),
        (np.ones((4, 3)), None, "takes no context, but one was given.*dataset.map"),
        (np.ones((4, 2)), (3,), r"context must have shape \(N, 3\); got \(4, 2\)"),
        (np.ones((5, 3)), (3,), "context has 5 rows and x has 4"),
        (np.full((4, 3), "a"), (3,), "context must hold numbers"),
        (np.ones(4), (3,), r"context must have shape \(N, 3\); got \(4, 4\)|context must have shape"),
    ],
)
def test_wrong_contexts_are_refused(context, shape, message):
    with pytest.raises(ValueError, match=message):
        validation.as_context(context, shape, 4, "float32")


def test_finite_rows_and_empty_data_pass():
    validation.check_finite(np.ones((3, 2)), "x")
    validation.check_finite(np.ones((0, 2)), "x")
    validation.check_finite(np.ones((0, 4, 4, 1)), "x")


def test_bad_rows_are_counted_and_located():
    rows = np.ones((5, 2, 2))
    rows[1, 0, 1], rows[3, 1, 1], rows[4, 1, 1] = np.nan, np.inf, -np.inf
    message = r"x holds NaN or infinity in 3 of 5 rows \(first: row 1\); by column: 3 \(2\), 1 \(1\)"
    with pytest.raises(ValueError, match=message):
        validation.check_finite(rows, "x")


def test_masked_entries_are_refused_rather_than_used():
    masked = np.ma.masked_values([[1.0, 2.0], [-999.0, 4.0]], -999.0)
    with pytest.raises(ValueError, match=r"x is a masked array with 1 masked entries.*filled\(numpy\.nan\)"):
        validation.as_rows(masked, (2,), "float32", "x")
    validation.as_rows(np.ma.masked_array([[1.0, 2.0]]), (2,), "float32", "x")


def test_as_many_numbers_as_rows_and_context_entries_are_ambiguous():
    with pytest.raises(ValueError, match=r"context has shape \(3,\): one context of size 3.*context\[None\]"):
        validation.as_context(np.arange(3.0), (3,), 3, "float32")
    assert validation.as_context(np.ones((1, 3)), (3,), 3, "float32").shape == (3, 3)
    assert validation.as_context(np.ones(3), (3,), 4, "float32").shape == (4, 3)


def test_a_long_context_is_refused_before_it_is_repeated():
    with pytest.raises(ValueError, match=r"context must have shape \(N, 2\); got \(N, 100000\)"):
        validation.as_context(np.ones(100_000), (2,), 100_000, "float32")


@pytest.mark.parametrize("temperature", [np.nan, np.inf, -1.0, [1.0, -0.5, 1.0]])
def test_temperatures_are_finite_and_not_negative(temperature):
    with pytest.raises(ValueError, match="temperature must be finite and >= 0; got"):
        validation.check_temperature(validation.as_numbers(temperature, 3, "temperature"))
