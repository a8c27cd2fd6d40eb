"""Warm-up requests: read with the server's protos, and run as the server runs them."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from flowzoo.export import read_manifest
from flowzoo.testing import make_flow

TABLE = {"steps": 2, "hidden_units": (4,)}
IMAGE = {"levels": 1, "channels": 4, "blocks": 1}
FLOWS = {
    "vectors": ((2,), None, TABLE),
    "conditional": ((2,), (3,), TABLE),
    "images": ((8, 8, 1), None, IMAGE | {"pixel_levels": 17}),
}


@pytest.fixture(scope="module", params=list(FLOWS))
def version(request, tmp_path_factory):
    event_shape, context_shape, options = FLOWS[request.param]
    flow = make_flow("realnvp", event_shape, context_shape, dtype="float32", **options)
    return flow.export(tmp_path_factory.mktemp(request.param))


def requests(version):
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    logs = [PredictionLog.FromString(record) for record in records]
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    return [log.predict_log.request for log in logs]


def test_one_record_for_each_signature_and_batch_size(version):
    manifest = read_manifest(version)
    wanted = {(name, size) for name in manifest["signatures"] for size in manifest["batch_sizes"]}
    got = []
    for request in requests(version):
        rows = {proto.tensor_shape.dim[0].size for proto in request.inputs.values()}
        assert len(rows) == 1, "inputs with different rows are refused by a batching server"
        got.append((request.model_spec.signature_name, *rows))
    assert set(got) == wanted
    assert len(got) == len(wanted) <= 1000


def test_every_record_runs_and_every_row_is_a_plausible_one(version):
    v1, records = tf.compat.v1, requests(version)
    with v1.Session(graph=tf.Graph()) as session:
        signatures = v1.saved_model.load(session, ["serve"], str(version)).signature_def
        for request in records:
            signature = signatures[request.model_spec.signature_name]
            assert set(request.inputs) == set(signature.inputs)
            feed = {}
            for name, proto in request.inputs.items():
                assert proto.dtype == signature.inputs[name].dtype
                feed[signature.inputs[name].name] = tf.make_ndarray(proto)
            fetch = {name: tensor.name for name, tensor in signature.outputs.items()}
            for name, values in session.run(fetch, feed).items():
                assert np.isfinite(values).all()
                assert name != "valid" or values.all()


def test_rows_are_within_the_range_of_the_data(version):
    (shape,) = {tuple(read_manifest(version)["signatures"]["score"]["inputs"]["x"]["shape"][1:])}
    for request in requests(version):
        if "x" in request.inputs:
            x = tf.make_ndarray(request.inputs["x"])
            low, high = (0, 16) if len(shape) == 3 else (-7, 13)  # 3 +- 5 standard deviations of 2
            assert low <= x.min() <= x.max() <= high
            assert x.size == len(x) * math.prod(shape)
