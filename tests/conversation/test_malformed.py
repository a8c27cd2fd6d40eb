"""Malformed requests: each is answered with a reason, and the server survives."""

import json
import socket
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

FEW, MANY = 300, 10_000
TELLING = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}

numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.sampled_from([0, 1, 2**24, 2**31, 2**63, -(2**63), 2**64, 10**400, 3e38, 1e39, -0.0]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just({"b64": "AA=="})),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["x", "seed", "b64", ""]), inner)
    ),
    max_leaves=8,
)
floats = st.floats(width=32) | st.integers(-9, 9)
pairs = st.lists(st.lists(floats, min_size=2, max_size=2), min_size=1, max_size=4)
NAMES = {
    "log_prob": ["x"],
    "score": ["x"],
    "encode": ["x"],
    "decode": ["z"],
    "sample": ["seed", "temperature"],
}
RIGHT = {
    "x": pairs,
    "z": pairs,
    "seed": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    "temperature": st.lists(floats, min_size=1, max_size=4),
}


@st.composite
def nearly_right(draw):
    """A request for a signature of the vector flow with about one wrong input, or none."""
    signature = draw(st.sampled_from(sorted(NAMES)))
    inputs = {}
    for name in NAMES[signature]:
        strange = st.one_of(values, numbers, st.lists(numbers, max_size=3), st.lists(st.lists(numbers)))
        inputs[name] = draw(st.one_of(RIGHT[name], RIGHT[name], strange))
    inputs |= draw(st.one_of(st.just({}), st.just({}), st.fixed_dictionaries({"y": values})))
    request = {"signature_name": signature}
    if draw(st.booleans()):
        request["inputs"] = inputs if len(inputs) > 1 or draw(st.booleans()) else next(iter(inputs.values()))
    elif len(inputs) > 1 or draw(st.booleans()):
        lists = [value if isinstance(value, list) else [value] for value in inputs.values()]
        request["instances"] = [dict(zip(inputs, row, strict=False)) for row in zip(*lists, strict=False)]
    else:
        request["instances"] = next(iter(inputs.values()))
    return request


objects = st.fixed_dictionaries(
    {}, optional={"signature_name": values, "inputs": values, "instances": values}
)
texts = st.one_of(nearly_right(), objects, values).map(json.dumps)
bodies = st.one_of(
    texts.map(str.encode),
    st.tuples(texts, st.integers(0, 100), st.text(max_size=3)).map(lambda t: _spoil(*t).encode()),
    st.binary(max_size=50),
)
names = st.sampled_from(
    ["vector", "image", "conditional", "nope", "", "%", "%00", "ä", "a b", "..", "v" * 300]
)
tails = st.sampled_from(
    [":predict"] * 8 + ["", "/metadata", "/versions/1:predict", "/versions/-1:predict", "/labels/x:predict"]
    + ["/versions/99999999999999999999:predict", ":classify", ":", "/", "//:predict", "?q=1"]
)  # fmt: skip
plain = nearly_right().map(lambda request: ("POST", "vector:predict", {}, json.dumps(request).encode()))
wild = st.tuples(
    st.sampled_from(["POST"] * 5 + ["GET", "PUT", "DELETE", "HEAD"]),
    st.tuples(names, tails).map("".join),
    st.sampled_from([{}, {"Content-Encoding": "gzip"}, {"Content-Type": "x/y"}]),
    bodies,
)


def _spoil(text, at, inserted):
    return text[:at] + inserted + text[at + 1 :]


def _right_tensor(draw, name):
    value, dtype = draw(RIGHT[name]), "int64" if name == "seed" else "float32"
    return tf.make_tensor_proto(np.array(value, dtype))


def _wrong_tensor(draw):
    """A tensor whose values may not fit its shape or its dtype."""
    tensor = TensorProto(dtype=draw(st.integers(0, 30)))
    for size in draw(st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**40]), max_size=4)):
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_shape.unknown_rank = draw(st.booleans())
    tensor.tensor_content = draw(st.one_of(st.just(b""), st.binary(max_size=16)))
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=3)))
    tensor.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)))
    return tensor


@st.composite
def tensors(draw):
    """A PredictRequest in which some tensors, the signature or the model are wrong."""
    signature = draw(st.sampled_from([*NAMES, "", "nope"]))
    request = PredictRequest()
    request.model_spec.name = draw(st.sampled_from(["vector"] * 5 + ["image", "nope", ""]))
    request.model_spec.signature_name = signature
    for name in NAMES.get(signature, ["x"]):
        right = draw(st.sampled_from([True, True, False]))
        request.inputs[name].CopyFrom(_right_tensor(draw, name) if right else _wrong_tensor(draw))
    if draw(st.sampled_from([True, False, False])):
        request.inputs["y"].CopyFrom(_wrong_tensor(draw))
    return request.SerializeToString()


def assert_alive(server, known):
    with server.client("vector") as client:
        np.testing.assert_allclose(
            client.log_prob(known["vector"].x[:9]), known["vector"].log_prob[:9], rtol=1e-4, atol=1e-4
        )


def _no_json(word):
    raise AssertionError(f"{word} in a reply is not JSON")


def talk_http(server, examples):
    with requests.Session() as session:

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
        @given(st.one_of(plain, wild))
        def check(request):
            method, path, headers, body = request
            url = f"{server.http}/v1/models/{path}"
            reply = session.request(method, url, headers=headers, data=body, timeout=60)
            assert reply.status_code in (200, 400, 404, 501), (request, reply.text)
            if method != "HEAD":
                told = json.loads(reply.content, parse_constant=_no_json)
                assert reply.status_code == 200 or told["error"], request

        check()


def talk_grpc(server, examples):
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
        @given(tensors())
        def check(request):
            call = predict.future(request, timeout=60)
            if call.exception() is not None:
                assert call.code() in TELLING, (request, call.code(), call.details())
                assert call.details(), request
            else:
                outputs = PredictResponse.FromString(call.result()).outputs
                assert all(np.isfinite(tf.make_ndarray(output)).all() for output in outputs.values())

        check()


def test_malformed_requests(server, known):
    talk_http(server, FEW)
    talk_grpc(server, FEW)
    assert_alive(server, known)


@pytest.mark.slow
def test_10_000_malformed_requests(server, known):
    talk_http(server, MANY // 2)
    talk_grpc(server, MANY // 2)
    assert_alive(server, known)


GET = b"GET /v1/models/vector HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/models/vector:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,  # A client that speaks TLS.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # A client that speaks gRPC.
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        GET + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n{}",
        POST + b"Content-Length: 99999999999999\r\n\r\n{}",
        POST + b"Content-Length: 50\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"".join(b"H%d: x\r\n" % i for i in range(500)) + b"\r\n",
    ],
    ids=lambda sent: repr(sent[-30:]),
)
def test_garbage_on_the_wire(server, known, sent):
    speak(server.http, sent)
    assert_alive(server, known)


def test_garbage_on_the_grpc_port(server, known):
    speak(server.grpc, GET + b"\r\n")
    assert_alive(server, known)


def speak(url, sent):
    """Sends bytes, then reads until the server hangs up, which may be before it has read them all."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 30) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            return  # The server hung up.
