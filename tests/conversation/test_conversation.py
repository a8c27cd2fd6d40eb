"""Requests and replies, which are the same for the stand-in and the real TF Serving."""

import json
import re

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from flowzoo.client import RefusedError

MODELS = ("vector", "conditional", "image")
TRANSPORTS = ("http", "grpc")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def post(server, body, model="vector", path=":predict") -> requests.Response:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return requests.post(f"{server.http}/v1/models/{model}{path}", data=data, timeout=60)


def strict_json(reply):
    """The reply's JSON; NaN is refused because it is not JSON."""

    def refuse(word):
        raise AssertionError(f"{word} in a reply is not JSON")

    return json.loads(reply.content, parse_constant=refuse)


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        yield PredictionServiceStub(channel)


def predict(stub, model, signature, version=None, **inputs):
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    outputs = stub.Predict(request, timeout=60).outputs
    return {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}


def asked_and_answered(about, rows):
    """Each signature with its inputs and Keras's outputs, for the first rows."""
    for name, inputs in about.inputs.items():
        outputs = about.outputs[name]
        yield name, {k: v[:rows] for k, v in inputs.items()}, {k: v[:rows] for k, v in outputs.items()}


def assert_outputs(got, wanted):
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, **TOLERANCE)


# -- every signature, every protocol -------------------------------------------------------------
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("model", MODELS)
def test_every_signature_in_columns(server, known, model, rows):
    for name, inputs, wanted in asked_and_answered(known[model], rows):
        lists = {key: array.tolist() for key, array in inputs.items()}
        reply = post(server, {"signature_name": name, "inputs": lists}, model)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
        outputs = strict_json(reply)["outputs"]
        assert_outputs(outputs if len(wanted) > 1 else {next(iter(wanted)): outputs}, wanted)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("model", MODELS)
def test_every_signature_in_rows(server, known, model, rows):
    for name, inputs, wanted in asked_and_answered(known[model], rows):
        instances = [{key: array[row].tolist() for key, array in inputs.items()} for row in range(rows)]
        reply = post(server, {"signature_name": name, "instances": instances}, model)
        assert reply.status_code == 200, reply.text
        predictions = strict_json(reply)["predictions"]
        assert len(predictions) == rows
        if len(wanted) == 1:
            predictions = [{next(iter(wanted)): row} for row in predictions]
        assert_outputs({key: [row[key] for row in predictions] for key in wanted}, wanted)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("model", MODELS)
def test_every_signature_over_grpc(stub, known, model, rows):
    for name, inputs, wanted in asked_and_answered(known[model], rows):
        assert_outputs(predict(stub, model, name, **inputs), wanted)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("model", MODELS)
def test_the_client_agrees_with_the_flow(server, known, model, transport, rows):
    about = known[model]
    x, context = about.part(slice(rows))
    with server.client(model, transport, max_rows=300) as client:
        score = client.score(x, context)
        samples = about.inputs["sample"]
        got = {
            "log_prob": {"log_prob": client.log_prob(x, context)},
            "score": {key: value for key, value in score._asdict().items() if value is not None},
            "sample": {
                "x": client.sample(
                    context=context, temperature=samples["temperature"][:rows], seed=samples["seed"][:rows]
                )
            },
            "encode": {"z": client.encode(x, context)},
            "decode": {"x": client.decode(about.inputs["decode"]["z"][:rows], context)},
        }
    for name, _, wanted in asked_and_answered(about, rows):
        if name in got:
            assert_outputs(got[name], wanted)
            assert all(got[name][key].dtype == value.dtype for key, value in wanted.items())


@pytest.mark.parametrize("model", MODELS)
def test_one_seed_gives_the_same_samples_everywhere(server, known, model):
    about, rows = known[model], 20
    context = None if about.context is None else about.context[0]
    wanted = about.flow.sample(rows, context, temperature=0.8, seed=11).numpy()
    for transport in TRANSPORTS:
        with server.client(model, transport, max_rows=7) as client:
            samples = client.sample(rows, context, temperature=0.8, seed=11)
            np.testing.assert_allclose(samples, wanted, **TOLERANCE)
            assert samples.dtype == wanted.dtype


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_empty_batches_give_empty_results(server, transport):
    with server.client("image", transport) as client:
        nothing = np.zeros((0, 4, 4, 1), np.uint8)
        assert client.log_prob(nothing).shape == (0,)
        assert client.score(nothing).valid.dtype == bool
        assert client.encode(nothing).shape == (0, 16)
        assert client.sample(0).shape == (0, 4, 4, 1)


# -- status and metadata ---------------------------------------------------------------------------
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_status(server, transport):
    with server.client("vector", transport) as client:
        assert client.status() == [(1, "AVAILABLE", "")]
    with server.client("vector", transport, version=1) as client:
        assert client.status() == [(1, "AVAILABLE", "")]
    for options in ({"model": "nope"}, {"model": "vector", "version": 9}):
        with (
            server.client(transport=transport, **options) as client,
            pytest.raises(RefusedError, match="Could not find"),
        ):
            client.status()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_metadata(server, transport):
    with server.client("conditional", transport) as client:
        signatures = client.metadata()
    assert set(signatures) == {"serving_default", "log_prob", "score", "sample", "encode", "decode"}
    assert signatures["sample"].inputs == {
        "seed": ("int64", (None,)),
        "temperature": ("float32", (None,)),
        "context": ("float32", (None, 3)),
    }
    assert signatures["score"].outputs == {"log_prob": ("float32", (None,)), "valid": ("bool", (None,))}
    with server.client("image", transport) as client:
        assert client.metadata()["log_prob"].inputs == {"x": ("uint8", (None, 4, 4, 1))}


# -- mistakes ----------------------------------------------------------------------------------------
X = [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error"),
        ("{", "JSON Parse error"),
        (b"\xff\xfe{}", "JSON Parse error"),
        ("[" * 10_000, "JSON Parse error"),
        ("[1, 2]", "Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"rows": X}, "Missing 'inputs' or 'instances' key"),
        ({"instances": X, "inputs": X}, "only one of"),
        ({"instances": []}, "No values in 'instances'"),
        ({"instances": {"x": X}}, "'instances' to be an list"),
        ({"instances": [{"y": [0, 0]}]}, "named input: y|keys must be equal to: x"),
        ({"instances": [{"x": [0, 0], "y": 1}]}, "named input: y|keys must be equal to: x"),
        ({"instances": [{"x": [0, 0]}, [0, 0]]}, "Expecting object but got list at item 1"),
        ({"instances": [[0, 0], [0]]}, "Expecting tensor size: 2 but got: 1|unexpected size: 1"),
        ({"inputs": {"y": X}}, "Missing named input: x"),
        ({"inputs": [[0, 0], [0]]}, "unexpected size: 1"),
        ({"inputs": [[0, 0], 0]}, "incorrect level"),
        ({"inputs": [[0, [0]]]}, "unexpected level"),
        ({"inputs": [["0", "0"]]}, "not of expected type"),
        ({"inputs": [[None, 0]]}, "not of expected type"),
        ({"inputs": [[True, 0]]}, "not of expected type"),
        ({"inputs": [[{"b64": "AAAA"}, 0]]}, "not of expected type"),
        ({"inputs": [[1e39, 0]]}, "without loss of precision"),
        ('{"inputs": [[1e999, 0]]}', "too big to be stored in double"),
        ({"inputs": [[0, 0, 0]]}, r"x must have shape \(N, 2\)"),
        ({"inputs": [0, 0]}, r"x must have shape \(N, 2\)"),
        ({"inputs": 0}, r"x must have shape \(N, 2\)"),
        ({"inputs": [[[0], [0]]]}, r"x must have shape \(N, 2\)"),
        ({"signature_name": "nope", "inputs": X}, '"nope.*" not found'),
        ({"signature_name": 3, "inputs": X}, "'signature_name' key must be a string"),
        ({"signature_name": "sample", "inputs": {"seed": [7.0], "temperature": [1]}}, "not of expected type"),
        ({"signature_name": "sample", "inputs": {"seed": ["7"], "temperature": [1]}}, "not of expected type"),
        ({"signature_name": "sample", "inputs": {"seed": [2**63], "temperature": [1]}}, "expected type"),
        ({"signature_name": "sample", "inputs": {"seed": [7]}}, "Missing named input: temperature"),
        ({"signature_name": "sample", "inputs": {"seed": 7, "temperature": [1]}}, r"seed must have shape"),
        (
            {"signature_name": "sample", "inputs": {"seed": [7, 8], "temperature": [1]}},
            "differ in their number of rows",
        ),
        ({"signature_name": "sample", "instances": [7]}, "plain list, but expecting list of objects"),
    ],
)
def test_a_wrong_request_is_answered_400_with_a_reason(server, body, message):
    reply = post(server, body)
    assert reply.status_code == 400, reply.text
    assert re.search(message, strict_json(reply)["error"]), reply.text


@pytest.mark.parametrize(
    ("model", "path", "code"),
    [
        ("nope", ":predict", 404),
        ("vector", "/versions/9:predict", 404),
        ("vector", "/versions/1:predict", 200),
        ("vector", "/labels/canary:predict", 400),
        ("vector", f"/versions/{10**30}:predict", 400),
        ("vector", "/versions/x:predict", 400),
        ("vector", "", 400),
        ("vector", ":explain", 400),
    ],
)
def test_paths(server, model, path, code):
    reply = post(server, {"inputs": X}, model, path)
    assert reply.status_code == code, reply.text
    assert ("error" in strict_json(reply)) == (code != 200)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("", 400, "Missing model name"),
        ("/nope", 404, "Could not find any versions of model nope"),
        ("/vector/versions/9", 404, "Could not find version 9 of model vector"),
        ("/nope/metadata", 404, "Servable not found"),
        ("/vector/versions/9/metadata", 404, "Servable not found"),
        ("/vector:predict", 400, "Malformed request: GET"),
    ],
)
def test_requests_for_missing_models_and_versions(server, path, code, message):
    reply = requests.get(f"{server.http}/v1/models{path}", timeout=60)
    assert reply.status_code == code, reply.text
    assert message in strict_json(reply)["error"]


def test_metadata_has_one_field(stub):
    request = GetModelMetadataRequest(metadata_field=["weights"])
    request.model_spec.name = "vector"
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelMetadata(request, timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_paths_outside_the_api_are_not_found(server):
    assert requests.get(f"{server.http}/nothing", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("asked", "inputs", "code", "message"),
    [
        ({"model": "nope"}, {"x": X}, "NOT_FOUND", "Servable not found"),
        ({"version": 9}, {"x": X}, "NOT_FOUND", "Servable not found"),
        ({"signature": "nope"}, {"x": X}, "FAILED_PRECONDITION", '"nope" not found'),
        ({}, {"y": np.zeros((1, 2), "f")}, "INVALID_ARGUMENT", "y"),
        ({}, {"x": np.zeros((1, 2), "f"), "y": 1.0}, "INVALID_ARGUMENT", "does not match"),
        ({}, {"x": np.zeros((1, 2), "d")}, "INVALID_ARGUMENT", "double"),
        ({}, {"x": np.zeros((1, 3), "f")}, "INVALID_ARGUMENT", r"x must have shape (N, 2)"),
        ({}, {"x": np.zeros(2, "f")}, "INVALID_ARGUMENT", r"x must have shape (N, 2)"),
        ({}, {"x": np.float32(0)}, "INVALID_ARGUMENT", r"x must have shape (N, 2)"),
    ],
)
def test_a_wrong_request_over_grpc(stub, asked, inputs, code, message):
    asked = {"model": "vector", "signature": "log_prob", **asked}
    with pytest.raises(grpc.RpcError) as caught:
        predict(stub, **asked, **inputs)
    assert caught.value.code().name == code, caught.value.details()
    assert message in caught.value.details()


def test_a_context_of_the_wrong_shape(server, stub):
    x = np.zeros((2, 2), "f")
    with pytest.raises(grpc.RpcError, match=r"context must have shape \(N, 3\)"):
        predict(stub, "conditional", "log_prob", x=x, context=np.zeros((2, 2), "f"))
    with pytest.raises(grpc.RpcError, match="differ in their number of rows"):
        predict(stub, "conditional", "log_prob", x=x, context=np.zeros((3, 3), "f"))
    reply = post(server, {"inputs": {"x": x.tolist()}}, "conditional")
    assert reply.status_code == 400
    assert "Missing named input: context" in reply.json()["error"]


# -- values --------------------------------------------------------------------------------------
def test_bad_rows_are_marked_and_leave_their_neighbours_alone(server, stub, known):
    about = known["vector"]
    x = about.x[:6].copy()
    x[1, 0], x[2, 1], x[3, 0], x[4, 0] = np.nan, np.inf, -np.inf, 3e38
    reply = post(server, {"signature_name": "score", "inputs": x.tolist()})
    assert reply.status_code == 200, reply.text
    score = strict_json(reply)["outputs"]
    assert score["valid"][:4] == [True, False, False, False]
    assert np.float32(score["log_prob"][1]) == np.finfo("f").min
    np.testing.assert_allclose(np.take(score["log_prob"], [0, 5]), about.log_prob[[0, 5]], **TOLERANCE)
    over_grpc = predict(stub, "vector", "score", x=x)
    assert over_grpc["valid"].tolist() == score["valid"]
    assert np.isfinite(over_grpc["log_prob"]).all()
    for signature in ("log_prob", "encode"):
        reply = post(server, {"signature_name": signature, "inputs": x.tolist()})
        assert reply.status_code == 200, reply.text
        strict_json(reply)


def test_the_client_scores_bad_rows_and_refuses_them_elsewhere(server, known):
    x = known["vector"].x[:3].copy()
    x[1] = np.nan
    with server.client("vector") as client:
        assert client.score(x).valid.tolist() == [True, False, True]
        with pytest.raises(ValueError, match="x holds NaN or infinity in 1 of 3 rows"):
            client.log_prob(x)


def test_gzipped_bodies_are_read(server, known):
    x = np.tile(known["vector"].x, (3, 1))  # Large enough for the client to compress.
    with server.client("vector", max_rows=3000) as client:
        np.testing.assert_allclose(client.log_prob(x)[-5:], known["vector"].log_prob[-5:], **TOLERANCE)
