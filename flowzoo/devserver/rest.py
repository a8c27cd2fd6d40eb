"""REST server of the stand-in, with TF Serving's paths, codes and messages."""

from __future__ import annotations

import json
import logging
import re
import sys
import zlib
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

import tensorflow as tf
from google.protobuf.json_format import MessageToDict

from flowzoo.devserver.json_tensors import read_inputs, read_json, write_outputs
from flowzoo.devserver.models import DEFAULT_SIGNATURE, Models
from flowzoo.devserver.replies import metadata_reply, signature_map, status_reply

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I | re.A
)
_INFO = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.I | re.A)
_HTTP_CODES = {
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.NOT_FOUND: 404,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.RESOURCE_EXHAUSTED: 429,
    tf.errors.UNIMPLEMENTED: 501,
}
_LARGEST_BODY, _LARGEST_UNPACKED = 2**28, 100 * 2**20


class HttpServer(ThreadingTCPServer):
    """Answers each connection in its own thread.

    Args:
        address: Host and port; port 0 chooses a free one.
        models: Models to serve.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], models: Models):
        super().__init__(address, _Handler)
        self.models = models

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs errors, except that a client disconnected."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            logging.getLogger(__name__).exception("a connection from %s broke", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = -1  # Headers and body in one packet.

    def do_GET(self) -> None:
        try:
            body = self._body()
        except ValueError as error:
            # The next request on the connection cannot be separated from the body.
            self.close_connection = True
            self._reply(411 if "Transfer-Encoding" in self.headers else 400, {"error": str(error)})
            return
        if not self.path.lower().startswith("/v1/"):
            self._reply(404, {"error": f"Not found: {self.path}"})
            return
        try:
            reply = self._answer(self.path.partition("?")[0], body)
        except tf.errors.OpError as error:
            self._reply(_HTTP_CODES.get(error.error_code, 500), {"error": error.message})
        except Exception as error:
            logging.getLogger(__name__).exception("%s %s", self.command, self.path)
            self._reply(500, {"error": f"{type(error).__name__}: {error}"})
        else:
            self._reply(200, reply)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def _answer(self, path: str, body: bytes) -> dict[str, Any]:
        if self.command == "POST" and (match := _PREDICT.fullmatch(path)):
            if match["method"].lower() != "predict":
                raise tf.errors.UnimplementedError(
                    None, None, "A flow has no classify or regress; use predict."
                )
            return self._predict(*_model(match), body)
        if self.command == "GET" and (match := _INFO.fullmatch(path)):
            if not match["name"]:
                raise _invalid("Missing model name in request.")
            name, version, label = _model(match)
            if match["metadata"]:
                return self._metadata(name, version, label)
            # As in the server: a label is ignored, and the answer lists all versions.
            return _as_dict(status_reply(self.server.models, name, version))
        raise _invalid(f"Malformed request: {self.command} {path}")

    def _predict(self, name: str, version: int | None, label: str | None, body: bytes) -> dict[str, Any]:
        request = read_json(body)
        signature = request.get("signature_name") or DEFAULT_SIGNATURE
        model = self.server.models.find(name, version, label)
        if signature not in model.signatures:
            raise _invalid(f'Serving signature name: "{signature}" not found in signature def')
        wanted = model.signatures[signature].inputs
        if not wanted:
            raise _invalid(f"Failed to get input map for signature: {signature}")
        inputs, in_rows = read_inputs(request, wanted)
        return write_outputs(model.run(signature, inputs), in_rows)

    def _metadata(self, name: str, version: int | None, label: str | None) -> dict[str, Any]:
        found = self.server.models.find(name, version, label)
        spec = _as_dict(metadata_reply(name, found).model_spec)
        return {"model_spec": spec, "metadata": {"signature_def": _as_dict(signature_map(found))}}

    def _body(self) -> bytes:
        """The request's decompressed body; raises a ValueError if its length is unknown."""
        if "Transfer-Encoding" in self.headers:
            raise ValueError("The stand-in does not accept chunked bodies; send a Content-Length.")
        length = self.headers.get("Content-Length", "0").strip()
        if not re.fullmatch("[0-9]{1,18}", length) or int(length) > _LARGEST_BODY:
            raise ValueError(f"Content-Length must be a number up to {_LARGEST_BODY}; got {length[:50]}.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ValueError(f"The body ended after {len(body)} of {length} bytes.")
        return _unzipped(body) if "gzip" in self.headers.get("Content-Encoding", "") else body

    def _reply(self, code: int, reply: dict[str, Any]) -> None:
        text = json.dumps(reply).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends http.server's own errors as JSON too."""
        self.close_connection = True
        self._reply(code, {"error": message or "Malformed request"})

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: a line for each request would hide the warnings."""


def _model(match: re.Match) -> tuple[str, int | None, str | None]:
    digits = match["version"]
    if digits is not None and len(digits) > 18:
        raise _invalid(f"Failed to convert version: {digits[:50]} to numeric.")
    version = None if digits is None else int(digits)
    return unquote(match["name"]), version, match["label"] and unquote(match["label"])


def _unzipped(body: bytes) -> bytes:
    """The decompressed body; empty, as in the server, if it is not gzip or too large."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, _LARGEST_UNPACKED)
    except zlib.error:
        return b""
    return plain if unzip.eof else b""


def _as_dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _invalid(message: str) -> tf.errors.OpError:
    return tf.errors.InvalidArgumentError(None, None, message)
