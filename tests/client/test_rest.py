"""REST transport against a server with scripted replies."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from flowzoo.client import Client, RefusedError, ServingError, UnavailableError

X = np.array([[1.5, 2.0], [0.1, -3.0]], np.float32)
GOOD = (200, {"outputs": [-1.25, -2.5]})


@pytest.fixture
def client(script):
    with Client(script.url, "toy", timeout=10, retries=3) as client:
        yield client


def test_request_and_reply(script, client):
    script.replies = [GOOD]
    got = client.log_prob(X)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [-1.25, -2.5])
    ((path, headers, body, _),) = script.asked
    assert path == "/v1/models/toy:predict"
    assert headers["Content-Type"] == "application/json"
    assert "Content-Encoding" not in headers
    assert body == {"signature_name": "log_prob", "inputs": {"x": X.tolist()}}


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"version": 3}, "/v1/models/toy/versions/3:predict"),
        ({"label": "canary"}, "/v1/models/toy/labels/canary:predict"),
        ({"model": "a/b c"}, "/v1/models/a%2Fb%20c:predict"),
    ],
)
def test_models_versions_and_labels(script, options, path):
    script.replies = [GOOD]
    with Client(script.url, **{"model": "toy", **options}) as client:
        client.log_prob(X)
    assert script.asked[0][0] == path


def test_a_path_before_the_api_is_kept(script):
    script.replies = [GOOD]
    with Client(f"{script.url}/flows/", "toy") as client:
        client.log_prob(X)
    assert script.asked[0][0] == "/flows/v1/models/toy:predict"


def test_headers_are_sent_with_every_request(script):
    script.replies = [GOOD]
    with Client(script.url, "toy", headers={"authorization": "Bearer secret"}) as client:
        client.log_prob(X)
    assert script.asked[0][1]["authorization"] == "Bearer secret"


def test_large_bodies_are_compressed(script):
    x = np.random.default_rng(0).normal(size=(4000, 2)).astype("f")
    script.replies = [(200, {"outputs": [0.0] * 4000})]
    with Client(script.url, "toy", max_rows=4000) as client:
        client.log_prob(x)
    ((_, headers, body, _),) = script.asked
    assert headers["Content-Encoding"] == "gzip"
    np.testing.assert_array_equal(np.float32(body["inputs"]["x"]), x)


def test_one_connection_serves_all_requests(script, client):
    script.replies = [GOOD] * 5
    for _ in range(5):
        client.log_prob(X)
    assert len({address for *_, address in script.asked}) == 1


@pytest.mark.parametrize(
    "failure", [(503, {"error": "queue"}), (429, {"error": "full"}), (502, "proxy"), None]
)
def test_temporary_failures_are_retried(script, client, failure):
    script.replies = [failure, failure, GOOD]
    np.testing.assert_array_equal(client.log_prob(X), [-1.25, -2.5])
    assert [body for _, _, body, _ in script.asked] == [script.asked[0][2]] * 3


@pytest.mark.parametrize("code", [400, 401, 404, 412])
def test_refused_requests_are_not_retried(script, client, code):
    script.replies = [(code, {"error": "x must have shape (N, 2)"}), GOOD]
    with pytest.raises(RefusedError) as caught:
        client.log_prob(X)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"model 'toy' at {script.url}, log_prob with x float32 (2, 2): x must have shape (N, 2) (HTTP {code})"
    )
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "reply", [(500, {"error": "inside"}), (301, "elsewhere"), (200, "<html>"), (504, "")]
)
def test_other_failures_are_raised_at_once(script, client, reply):
    script.replies = [reply, GOOD]
    with pytest.raises(
        ServingError, match=r"model 'toy' at .*, log_prob with x float32 \(2, 2\): "
    ) as caught:
        client.log_prob(X)
    assert not isinstance(caught.value, ValueError | UnavailableError)
    assert len(script.asked) == 1


def test_retries_are_limited(script, client):
    script.replies = [(503, {"error": "queue full"})] * 9
    with pytest.raises(UnavailableError, match=r"queue full \(HTTP 503\)"):
        client.log_prob(X)
    assert len(script.asked) == 1 + 3


def test_an_answer_with_too_few_rows_is_an_error(script, client):
    script.replies = [(200, {"outputs": [1.0]})]
    with pytest.raises(ServingError, match="got 1 rows of log_prob, expected 2"):
        client.log_prob(X)


def test_a_port_that_refuses_connections():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", "toy", retries=2) as client,
        pytest.raises(UnavailableError, match=r"model 'toy' at .*no connection: .*refused"),
    ):
        client.log_prob(X)


def test_the_deadline_holds():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        before = time.monotonic()
        with (
            Client(address, "toy", timeout=0.3) as client,
            pytest.raises(ServingError, match=r"no answer within 0\.3 s"),
        ):
            client.log_prob(X)
        assert time.monotonic() - before < 5


def test_the_deadline_includes_the_pauses(script, monkeypatch):
    monkeypatch.setattr("flowzoo.client.protocol._FIRST_PAUSE", 10.0)
    script.replies = [(503, {"error": "queue"})] * 9
    before = time.monotonic()
    with Client(script.url, "toy", timeout=1.0) as client, pytest.raises(UnavailableError):
        client.log_prob(X)
    assert time.monotonic() - before < 1.0


def test_tls_with_certificates_of_both_sides(script, certificates):
    script.speak_tls(certificates)
    script.replies = [GOOD]
    trusted = {"ca_file": str(certificates / "server.crt")}
    own = {"client_cert": (str(certificates / "client.crt"), str(certificates / "client.key"))}
    with Client(script.url, "toy", **trusted, **own) as client:
        np.testing.assert_array_equal(client.log_prob(X), [-1.25, -2.5])
    with Client(script.url, "toy", retries=0, **own) as client, pytest.raises(ServingError, match="TLS"):
        client.log_prob(X)
    with Client(script.url, "toy", retries=0, **trusted) as client, pytest.raises(ServingError):
        client.log_prob(X)


def test_tls_to_a_port_without_tls(script):
    with (
        Client(script.url.replace("http", "https"), "toy") as client,
        pytest.raises(ServingError, match="TLS failed"),
    ):
        client.log_prob(X)


def test_status(script, client):
    bad = {"error_code": "UNKNOWN", "error_message": "no graph"}
    script.replies = [
        (
            200,
            {
                "model_version_status": [
                    {"version": "2", "state": "END", "status": bad},
                    {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}},
                ]
            },
        )
    ]
    assert client.status() == [(2, "END", "no graph"), (1, "AVAILABLE", "")]


def test_metadata_lists_callable_signatures(client):
    assert client.metadata() == {
        "log_prob": ({"x": ("float32", (None, 2))}, {"log_prob": ("float32", (None,))})
    }


PROGRAM = """
import sys, numpy as np, flowzoo
client = flowzoo.client.Client(sys.argv[1], "toy")
print(client.log_prob(np.zeros((2, 2))))
heavy = {"tensorflow", "tensorflow_serving", "grpc", "keras", "tensorflow_probability"} & set(sys.modules)
assert not heavy, heavy
"""


def test_tensorflow_is_not_imported(script):
    script.replies = [GOOD]
    command = [sys.executable, "-c", PROGRAM, script.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[-1.25 -2.5 ]\n"


def test_without_requests_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['requests'] = None\n"
        "from flowzoo.client import Client\n"
        "Client('http://localhost:1', 'toy')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: The REST client needs requests: pip install 'flowzoo[serving]'."
    )
