"""gRPC transport against a servicer with scripted failures, including TLS."""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.json_format import ParseDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from flowzoo.client import Client, RefusedError, ServingError, UnavailableError

X = np.array([[1.5, 2.0], [0.1, -3.0]], np.float32)


class Servicer(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Fails with the scripted codes, then answers the sum of each row."""

    def __init__(self):
        self.failures, self.asked, self.headers = [], [], {}

    def Predict(self, request, context):  # noqa: N802
        self.asked.append(request)
        self.headers = dict(context.invocation_metadata())
        if self.failures:
            context.abort(grpc.StatusCode[self.failures.pop(0)], "a reason")
        reply = predict_pb2.PredictResponse()
        sums = tf.make_ndarray(request.inputs["x"]).sum(1)
        reply.outputs["log_prob"].CopyFrom(tf.make_tensor_proto(sums))
        return reply

    def GetModelMetadata(self, request, context):  # noqa: N802
        signature = {
            "inputs": {"x": {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": -1}, {"size": 2}]}}},
            "outputs": {"log_prob": {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": -1}]}}},
            "methodName": "tensorflow/serving/predict",
        }
        signatures = {"signatureDef": {"log_prob": signature}}
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.metadata["signature_def"].Pack(ParseDict(signatures, get_model_metadata_pb2.SignatureDefMap()))
        return reply

    def GetModelStatus(self, request, context):  # noqa: N802
        self.asked.append(request)
        return ParseDict(
            {"model_version_status": [{"version": 4, "state": "AVAILABLE"}]},
            get_model_status_pb2.GetModelStatusResponse(),
        )


@pytest.fixture
def servicer():
    return Servicer()


@pytest.fixture
def start(servicer):
    servers = []

    def begin(credentials=None, address="127.0.0.1:0"):
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
        add = server.add_insecure_port if credentials is None else server.add_secure_port
        port = add(address, *([] if credentials is None else [credentials]))
        server.start()
        servers.append(server)
        return server, port

    yield begin
    for server in servers:
        server.stop(None)


@pytest.fixture
def client(start):
    with Client(f"grpc://127.0.0.1:{start()[1]}", "toy", timeout=10, retries=3) as client:
        yield client


def test_request_and_reply(servicer, client):
    got = client.log_prob(X)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, X.sum(1))
    (request,) = servicer.asked
    assert (request.model_spec.name, request.model_spec.signature_name) == ("toy", "log_prob")
    assert not request.model_spec.HasField("version")
    assert client.status() == [(4, "AVAILABLE", "")]


def test_versions_labels_and_headers(servicer, start):
    address = f"grpc://127.0.0.1:{start()[1]}"
    with Client(address, "toy", version=3, headers={"Authorization": "Bearer secret"}) as client:
        client.log_prob(X)
        assert servicer.asked[-1].model_spec.version.value == 3
        assert servicer.headers["authorization"] == "Bearer secret"
    with Client(address, "toy", label="canary") as client:
        client.log_prob(X)
        assert servicer.asked[-1].model_spec.version_label == "canary"


def test_messages_above_4_mb(start):
    with Client(f"grpc://127.0.0.1:{start()[1]}", "toy", max_rows=10**7) as client:
        assert client.log_prob(np.ones((1_500_000, 2), np.float32)).shape == (1_500_000,)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_temporary_failures_are_retried(servicer, client, code):
    servicer.failures = [code, code]
    np.testing.assert_array_equal(client.log_prob(X), X.sum(1))
    assert len(servicer.asked) == 3
    servicer.failures = [code] * 9
    with pytest.raises(UnavailableError, match=rf"a reason \({code}\)"):
        client.log_prob(X)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", RefusedError),
        ("FAILED_PRECONDITION", RefusedError),
        ("NOT_FOUND", RefusedError),
        ("INTERNAL", ServingError),
    ],
)
def test_other_failures_are_raised_at_once(servicer, client, code, kind):
    servicer.failures = [code]
    with pytest.raises(ServingError) as caught:
        client.log_prob(X)
    assert type(caught.value) is kind
    assert f"log_prob with x float32 (2, 2): a reason ({code})" in str(caught.value)
    assert len(servicer.asked) == 1


def test_a_server_that_comes_back_is_found_again(start):
    server, port = start()
    with Client(f"grpc://127.0.0.1:{port}", "toy", timeout=20, retries=100) as client:
        client.log_prob(X)
        server.stop(None).wait()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.log_prob, X)
            time.sleep(0.3)
            start(address=f"127.0.0.1:{port}")
            np.testing.assert_array_equal(answer.result(), X.sum(1))


def test_the_deadline_holds():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"grpc://127.0.0.1:{mute.getsockname()[1]}"
        with Client(address, "toy", timeout=0.3) as client, pytest.raises(ServingError, match=r"0\.3 s"):
            client.log_prob(X)


def test_tls_with_certificates_of_both_sides(start, certificates):
    pair = tuple((certificates / f"server.{kind}").read_bytes() for kind in ("key", "crt"))
    clients = (certificates / "client.crt").read_bytes()
    _, port = start(grpc.ssl_server_credentials([pair], clients, require_client_auth=True))
    trusted = {"ca_file": str(certificates / "server.crt")}
    own = {"client_cert": (str(certificates / "client.crt"), str(certificates / "client.key"))}
    url = f"grpcs://localhost:{port}"
    with Client(url, "toy", **trusted, **own) as client:
        np.testing.assert_array_equal(client.log_prob(X), X.sum(1))
    with Client(url, "toy", retries=0, **trusted) as client, pytest.raises(ServingError):
        client.log_prob(X)


def test_without_grpc_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "from flowzoo.client import Client\n"
        "Client('grpc://localhost:1', 'toy')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: The gRPC client needs grpcio: pip install 'flowzoo[serving]'."
    )
