"""Requests that no client of ours sends: each is answered with a reason, and the server lives on."""

import json
import socket
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis.predict_pb2 import PredictRequest

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
pairs = st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=4)
signatures = st.sampled_from(["log_prob", "score", "sample", "encode", "decode", "", "nope"])
named = st.fixed_dictionaries(
    {}, optional={name: st.one_of(values, pairs) for name in ("x", "z", "seed", "temperature", "context")}
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.one_of(signatures, st.just("__saved_model_init_op"), values),
        "inputs": st.one_of(named, pairs, values),
        "instances": st.one_of(st.lists(named, max_size=3), pairs, values),
    },
)
texts = st.one_of(objects, objects, values).map(json.dumps)
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
http_requests = st.tuples(
    st.sampled_from(["POST"] * 5 + ["GET", "PUT", "DELETE", "HEAD"]),
    st.tuples(st.just("vector"), tails) | st.tuples(names, tails),
    st.sampled_from([{}, {"Content-Encoding": "gzip"}, {"Content-Type": "x/y"}]),
    bodies,
)


def _spoil(text, at, inserted):
    return text[:at] + inserted + text[at + 1 :]


@st.composite
def tensors(draw):
    """A PredictRequest whose tensors need not fit their shapes, dtypes or the signature."""
    request = PredictRequest()
    request.model_spec.name = draw(st.sampled_from(["vector", "image", "nope", ""]))
    request.model_spec.signature_name = draw(signatures)
    for name in draw(st.lists(st.sampled_from(["x", "z", "seed", "temperature", "y"]), max_size=3)):
        tensor = request.inputs[name]
        tensor.dtype = draw(st.integers(0, 30))
        for size in draw(st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**40]), max_size=4)):
            tensor.tensor_shape.dim.add().size = size
        tensor.tensor_shape.unknown_rank = draw(st.booleans())
        tensor.tensor_content = draw(st.one_of(st.just(b""), st.binary(max_size=16)))
        tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=3)))
        tensor.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)))
    return request.SerializeToString()


def assert_alive(server, known):
    with server.client("vector") as client:
        np.testing.assert_allclose(
            client.log_prob(known["vector"].x[:9]), known["vector"].log_prob[:9], rtol=1e-4, atol=1e-4
        )


def talk_http(server, examples):
    with requests.Session() as session:

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
        @given(http_requests)
        def check(request):
            method, (name, tail), headers, body = request
            url = f"{server.http}/v1/models/{name}{tail}"
            reply = session.request(method, url, headers=headers, data=body, timeout=60)
            assert reply.status_code in (200, 400, 404, 501), (request, reply.text)
            if reply.status_code != 200 and method != "HEAD":
                assert reply.json()["error"], request

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

        check()


def test_malformed_requests(server, known):
    talk_http(server, FEW)
    talk_grpc(server, FEW)
    assert_alive(server, known)


@pytest.mark.slow
def test_10_000_malformed_requests(server, known):
    talk_http(server, MANY)
    talk_grpc(server, MANY)
    assert_alive(server, known)


GET = b"GET /v1/models/vector HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/models/vector:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,  # A client that speaks TLS.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # One that speaks gRPC.
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
    """Sends, and listens until the server hangs up; it may do so before it has heard all."""
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
            return  # It hung up.
