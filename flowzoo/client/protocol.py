"""Types, errors and retries that both transports share."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PREDICT = "tensorflow/serving/predict"
_DTYPES = {
    "DT_BOOL": "bool",
    "DT_DOUBLE": "float64",
    "DT_FLOAT": "float32",
    "DT_HALF": "float16",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_UINT8": "uint8",
}


class ServingError(RuntimeError):
    """The server gave no usable answer: it failed or missed the deadline."""


class UnavailableError(ServingError):
    """The server is unreachable or overloaded; the same request may succeed later."""


class RefusedError(ServingError, ValueError):
    """The server refused the request: the model, the version or the values are wrong."""


class TensorSpec(NamedTuple):
    """Dtype and shape of one input or output; None stands for a size that varies."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """Named inputs and outputs of one signature."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """State of one version (START, LOADING, AVAILABLE, UNLOADING, END) and its error, if any."""

    version: int
    state: str
    error: str


class ModelSpec(NamedTuple):
    """A model on the server, and its version: the newest, a number, or a label."""

    name: str
    version: int | None
    label: str | None


class Connection(NamedTuple):
    """Settings of a connection, except its address."""

    timeout: float
    retries: int
    headers: Mapping[str, str]
    ca_file: str | None
    client_cert: tuple[str, str] | None


class Transport(Protocol):
    """Sends requests to the server. Its errors give the reason; the client adds the request."""

    def predict(
        self, name: str, signature: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""

    def status(self) -> list[VersionStatus]:
        """The versions of the model and their states."""

    def metadata(self) -> dict[str, Signature]:
        """The model's signatures."""

    def close(self) -> None:
        """Closes the connections."""


def retrying(send: Callable[[float], T], connection: Connection) -> T:
    """Calls ``send(seconds left)`` and repeats it, after growing pauses, while the server is unavailable.

    Every signature is a pure function, so a request whose answer was lost may be sent again.

    Raises:
        UnavailableError: If the retries or the time are used up.
    """
    end = time.monotonic() + connection.timeout
    for attempt in itertools.count():
        try:
            return send(max(end - time.monotonic(), 0.001))
        except UnavailableError:
            # Jitter, so that clients hit by one failure do not all retry together.
            pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
            if attempt >= connection.retries or time.monotonic() + pause >= end:
                raise
        time.sleep(pause)
    raise AssertionError("unreachable")


def read_signatures(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """Reads the callable signatures of a SignatureDefMap in JSON form."""
    return {
        name: Signature(_read_specs(definition["inputs"]), _read_specs(definition["outputs"]))
        for name, definition in signature_defs.items()
        if definition["method_name"] == _PREDICT
    }


def _read_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_read_dtype(info["dtype"]), _read_shape(info)) for name, info in tensors.items()}


def _read_dtype(name: str) -> str:
    if name not in _DTYPES:
        raise ServingError(f"the model has a tensor of dtype {name}; expected one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def _read_shape(info: Mapping[str, Any]) -> tuple[int | None, ...]:
    sizes = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
    return tuple(None if size < 0 else size for size in sizes)
