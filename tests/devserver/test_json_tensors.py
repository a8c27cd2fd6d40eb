"""Cases that tests/conversation does not reach: dtypes that flows do not have, and odd shapes."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from flowzoo.devserver.json_tensors import read_inputs, read_json, write_outputs


def read(value, dtype):
    inputs, _ = read_inputs({"inputs": value}, {"x": TensorInfo(dtype=tf.as_dtype(dtype).as_datatype_enum)})
    return inputs["x"]


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        ([1, 2.5, -0.0], "float32", [1, 2.5, 0]),
        ([0.1], "float64", [0.1]),
        ([2**24 - 1], "float32", [2**24 - 1]),
        ([2**70], "float32", [2.0**70]),
        ([1, 255, 300], "uint8", [1, 255, 44]),
        ([2**63 - 1, -(2**63)], "int64", [2**63 - 1, -(2**63)]),
        ([True, False], "bool", [True, False]),
        ([[], []], "float32", np.zeros((2, 0))),
        ([], "int64", []),
        (3, "int64", 3),
        ([[[1]]], "float32", [[[1]]]),
    ],
)
def test_values(value, dtype, wanted):
    array = read(value, dtype)
    assert array.dtype == dtype
    assert array.shape == np.shape(wanted)
    np.testing.assert_array_equal(array, np.array(wanted, dtype))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([2**24], "float32"),
        ([10**400], "float64"),
        ([1e39], "float32"),
        ([2**31], "uint8"),
        ([1.0], "uint8"),
        ([2**63], "int64"),
        ([True], "int64"),
        ([1], "bool"),
        ([[1], 2], "float32"),
        ([1, [2]], "float32"),
        ([[1], [2, 3]], "float32"),
        ([{}], "float32"),
    ],
)
def test_values_that_do_not_fit(value, dtype):
    with pytest.raises(tf.errors.InvalidArgumentError):
        read(value, dtype)


def test_strings_are_refused():
    with pytest.raises(tf.errors.UnimplementedError, match="does not accept inputs of type string"):
        read(["a"], tf.string)


def test_nan_and_infinity_are_accepted():
    request = read_json(b'{"inputs": [NaN, Infinity, -Infinity]}')
    np.testing.assert_array_equal(
        read_inputs(request, {"x": TensorInfo(dtype=1)})[0]["x"], [np.nan, np.inf, -np.inf]
    )


def test_several_outputs_in_rows_and_in_columns():
    outputs = {"a": np.array([1.5, 2.5], np.float32), "b": np.array([[1], [2]])}
    assert write_outputs(outputs, in_rows=True) == {
        "predictions": [{"a": 1.5, "b": [1]}, {"a": 2.5, "b": [2]}]
    }
    assert write_outputs(outputs, in_rows=False) == {"outputs": {"a": [1.5, 2.5], "b": [[1], [2]]}}


def test_float32_survives_json_bit_for_bit():
    x = np.random.default_rng(0).normal(size=1000).astype("f")
    text = json.dumps(write_outputs({"x": x}, in_rows=False))
    np.testing.assert_array_equal(np.float32(json.loads(text)["outputs"]), x)
