"""REST transport of the client; it does not import TensorFlow."""

from __future__ import annotations

import gzip
import json
import textwrap
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from flowzoo.client.protocol import (
    Connection,
    ModelSpec,
    RefusedError,
    ServingError,
    Signature,
    UnavailableError,
    VersionStatus,
    read_signatures,
    retrying,
)

try:
    import requests
except ImportError:
    raise ImportError("The REST client needs requests: pip install 'flowzoo[serving]'.") from None

# 429 is the server's RESOURCE_EXHAUSTED, 503 its full queue; 502 comes from a proxy in front of it.
_UNAVAILABLE = {429, 502, 503}
_COMPRESS_ABOVE = 2**16


class RestTransport:
    """Talks to the REST port; see `Transport`.

    Tensors are sent as numbers, because the server accepts base64 for strings only. Large bodies are
    gzipped, which makes pixels written as text several times smaller.

    Args:
        address: "http://host:8501" or "https://...", with any path before /v1.
        model: Model and version to call.
        connection: Deadline, retries, headers, TLS.
    """

    def __init__(self, address: str, model: ModelSpec, connection: Connection):
        self._connection = connection
        self._url = f"{address.rstrip('/')}/v1/models/{quote(model.name, safe='')}"
        if model.version is not None:
            self._url += f"/versions/{model.version}"
        elif model.label is not None:
            self._url += f"/labels/{quote(model.label, safe='')}"
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=64)
        self._session.mount(address, adapter)
        self._session.headers.update(connection.headers)
        self._session.cert = connection.client_cert

    def predict(
        self, name: str, signature: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""
        request = {
            "signature_name": name,
            "inputs": {key: array.tolist() for key, array in inputs.items()},
        }
        body, headers = json.dumps(request).encode(), {"Content-Type": "application/json"}
        if len(body) > _COMPRESS_ABOVE:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        outputs = self._ask("POST", ":predict", data=body, headers=headers)["outputs"]
        if not isinstance(outputs, dict):  # A single output comes without its name.
            outputs = dict.fromkeys(signature.outputs, outputs)
        return {key: np.asarray(outputs[key], spec.dtype) for key, spec in signature.outputs.items()}

    def status(self) -> list[VersionStatus]:
        """The versions of the model and their states."""
        versions = self._ask("GET", "").get("model_version_status", [])
        return [
            VersionStatus(int(v["version"]), v["state"], v["status"].get("error_message", ""))
            for v in versions
        ]

    def metadata(self) -> dict[str, Signature]:
        """The model's signatures."""
        return read_signatures(self._ask("GET", "/metadata")["metadata"]["signature_def"]["signature_def"])

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return retrying(lambda left: self._send(method, path, left, request), self._connection)

    def _send(self, method: str, path: str, timeout: float, request: dict[str, Any]) -> dict[str, Any]:
        try:
            reply = self._session.request(
                method,
                self._url + path,
                timeout=timeout,
                allow_redirects=False,
                # Set for each request: environment variables override the session's value.
                verify=self._connection.ca_file or True,
                **request,
            )
        except requests.exceptions.SSLError as error:
            raise ServingError(f"TLS failed: {error}") from error
        except requests.Timeout as error:
            raise ServingError(f"no answer within {self._connection.timeout:g} s") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise UnavailableError(f"no connection: {_cause(error)}") from error
        if reply.status_code != 200:
            raise _error_class(reply.status_code)(f"{_reason(reply)} (HTTP {reply.status_code})")
        try:
            return json.loads(reply.content)
        except ValueError as error:
            raise ServingError(f"the answer is not JSON: {_reason(reply)}") from error


def _error_class(code: int) -> type[ServingError]:
    if code in _UNAVAILABLE:
        return UnavailableError
    return RefusedError if 400 <= code < 500 else ServingError


def _reason(reply: requests.Response) -> str:
    """The error message in a reply; a proxy may send it in another form."""
    try:
        text = json.loads(reply.content)["error"]
    except (ValueError, TypeError, KeyError):
        text = reply.text or reply.reason or "no reason given"
    return textwrap.shorten(str(text), 500, placeholder=" ...")


def _cause(error: BaseException) -> BaseException:
    """The innermost cause of an error that several libraries have wrapped."""
    while error.__context__ is not None:
        error = error.__context__
    return error
