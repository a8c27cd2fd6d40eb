"""Warm-up requests, which TensorFlow Serving runs before a version takes traffic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from flowzoo.export.signatures import input_specs

FILE_NAME = "assets.extra/tf_serving_warmup_requests"  # the name that TensorFlow Serving looks for


def write_warmup_requests(functions: dict, sizes: list[int], directory: Path) -> None:
    """Writes a TFRecord of ``PredictionLog``: one request for each signature and batch size.

    A version with a failing record does not load. So the rows come from the middle of the flow's
    distribution, and the exported functions have already run on them here.

    Args:
        functions: Concrete functions by signature name.
        sizes: Numbers of rows of the requests.
        directory: The version's directory.
    """
    path = directory / FILE_NAME
    path.parent.mkdir()
    row = _one_row(functions)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in functions.items():
            for size in sizes:
                inputs = {key: np.repeat(row[key], size, axis=0) for key in input_specs(function)}
                writer.write(_log(name, inputs).SerializeToString())


def _one_row(functions):
    """One row of every input of every signature: ``{"x": [1, ...], "seed": [1], ...}``."""
    specs = {key: spec for function in functions.values() for key, spec in input_specs(function).items()}
    row = {key: np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for key, spec in specs.items()}
    # A sample at temperature 0; the requests then have temperature 1, as a client would send.
    row["x"] = _as_input(_run(functions["sample"], row)["x"], specs["x"].dtype)
    row["z"] = _as_input(_run(functions["encode"], row)["z"], specs["z"].dtype)
    row["temperature"] += 1
    return row


def _run(function, row):
    return function(*[tf.constant(row[key]) for key in input_specs(function)])


def _as_input(rows, dtype):
    rows = rows.numpy()
    # Sampled pixels are continuous within their steps.
    return (
        np.clip(np.floor(rows), dtype.min, dtype.max).astype(dtype.as_numpy_dtype)
        if dtype.is_integer
        else rows
    )


def _log(signature, inputs):
    request = PredictRequest()
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return PredictionLog(predict_log=PredictLog(request=request))
