"""A REST server with scripted replies that records its requests, and TLS certificates."""

import gzip
import json
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def info(dtype, *sizes):
    dims = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": "tensor:0"}


SIGNATURES = {
    "log_prob": {
        "inputs": {"x": info("DT_FLOAT", -1, 2)},
        "outputs": {"log_prob": info("DT_FLOAT", -1)},
        "method_name": "tensorflow/serving/predict",
    },
    "__saved_model_init_op": {"inputs": {}, "outputs": {"op": info("DT_INVALID")}, "method_name": ""},
}
METADATA = {"model_spec": {}, "metadata": {"signature_def": {"signature_def": SIGNATURES}}}


class Script:
    """Sends scripted replies: (code, body), or None to cut the connection."""

    def __init__(self):
        self.replies = []
        self.asked = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if self.path.endswith("/metadata") and "/broken/" not in self.path:
                    self.answer(200, METADATA)
                else:
                    self.follow(None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                self.follow(json.loads(body))

            def follow(self, body):
                script.asked.append((self.path, dict(self.headers), body, self.client_address))
                reply = script.replies.pop(0)
                if reply is None:
                    self.close_connection = True
                else:
                    self.answer(*reply)

            def answer(self, code, body):
                body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def speak_tls(self, certificates):
        """Accepts only TLS from now on, from clients that show their certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "client.crt")
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http://127.0.0.1", "https://localhost")

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def script():
    script = Script()
    yield script
    script.stop()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Shortens the pauses before retries."""
    monkeypatch.setattr("flowzoo.client.protocol._FIRST_PAUSE", 0.001)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A directory with the keys and certificates of a server on localhost and of a client."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return directory
