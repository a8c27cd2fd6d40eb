"""Client: a served flow's log_prob, score, sample, encode and decode on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import numpy as np

from flowzoo import random
from flowzoo.client.arrays import as_inputs, describe
from flowzoo.client.protocol import (
    Connection,
    ModelSpec,
    ServingError,
    Signature,
    Transport,
    VersionStatus,
)
from flowzoo.utils import validation
from flowzoo.utils.frames import frame_rows, is_frame
from flowzoo.utils.sizes import rows_per_chunk

T = TypeVar("T")


class Score(NamedTuple):
    """Densities of rows, some of which may be invalid."""

    log_prob: np.ndarray
    """``[N]``, nats; the lowest finite float for invalid rows."""
    valid: np.ndarray
    """``[N]`` bool: False where a row, or its context, holds NaN or infinity."""
    bits_per_dim: np.ndarray | None
    """``[N]`` for images, else None."""


class Client:
    """Calls a flow served by TF Serving or `flowzoo serve`; used like a `Flow`, on NumPy arrays.

    REST needs ``requests`` but not TensorFlow. gRPC is faster for large arrays but imports TensorFlow.
    ``pip install 'flowzoo[serving]'`` installs what both need. Threads may share a client. It keeps its
    connections open until `close` or the end of a ``with`` block.

    Args:
        url: "http://host:8501", "https://...", "grpc://host:8500" or "grpcs://..." (with TLS).
        model: Name of the model on the server.
        version: Version to call; the newest by default. If a batch is split into several requests, only a
            named version is certain to answer all of them.
        label: Label of a version in the server's configuration ("canary"); instead of `version`.
        timeout: Seconds that a request may take, including its retries.
        retries: Maximum number of retries, after growing pauses, if the server is unreachable or
            overloaded. A refused request is not retried.
        max_rows: Maximum rows in one request, fewer for large events; larger batches are split. A batching
            server refuses more than its ``max_batch_size``; the default fits what flowzoo exports.
        headers: Headers of each request, metadata over gRPC: ``{"authorization": "Bearer ..."}``.
        ca_file: File of certificates to trust instead of the system's, for TLS.
        client_cert: Files of the client's certificate and key, for TLS.
        columns: Names of the columns of a row, as ``flowzoo_manifest.json`` lists them. Data frames are
            matched by these names; without them, frames are refused: a server does not report its columns.

    Raises:
        ValueError: On an unsupported `url`, on `max_rows` below 1, or if both version and label are given.

    Example:
        >>> client = Client("http://localhost:8501", model="flights")
        >>> client.sample(16, seed=1).shape  # doctest: +SKIP
        (16, 8)
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
        max_rows: int = 1024,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        client_cert: tuple[str, str] | None = None,
        columns: Sequence[str] | None = None,
    ):
        if version is not None and label is not None:
            raise ValueError(f"Give a version or a label, not both; got {version} and {label!r}.")
        if max_rows < 1:
            raise ValueError(f"max_rows must be >= 1; got {max_rows}.")
        self._what = f"model {model!r} at {url}"
        self._max_rows = max_rows
        self._columns = None if columns is None else list(columns)
        connection = Connection(timeout, retries, headers or {}, ca_file, client_cert)
        self._transport = _open(url, ModelSpec(model, version, label), connection)
        self._signatures: dict[str, Signature] | None = None

    # -- the flow ------------------------------------------------------------------------------
    def log_prob(self, x: Any, context: Any = None) -> np.ndarray:
        """Log-densities ``[N]``, nats, of raw data ``[N, *event_shape]``.

        Args:
            x: Rows of any numeric dtype; whole numbers if the flow models pixels.
            context: ``[N, size]``, or one vector for all rows, if the flow is conditional.

        Raises:
            ValueError: On wrong shapes or types, NaN or infinity, and if the server refuses the request.
            ServingError: If the server gives no usable answer.
        """
        return self._run("log_prob", {"x": x, "context": context})["log_prob"]

    def score(self, x: Any, context: Any = None) -> Score:
        """`log_prob` for data that may hold invalid rows; adds bits per dimension for images."""
        outputs = self._run("score", {"x": x, "context": context}, finite=False)
        return Score(outputs["log_prob"], outputs["valid"], outputs.get("bits_per_dim"))

    def sample(
        self, n: int | None = None, context: Any = None, temperature: Any = 1.0, seed: Any = None
    ) -> np.ndarray:
        """Samples in raw units ``[n, *event_shape]``; with a seed, the same as those of `Flow.sample`.

        Args:
            n: Number of samples; optional if `context` or `seed` has rows.
            context: ``[n, size]`` or one vector for all, if the flow is conditional.
            temperature: Scale of the base's noise; one number or ``[n]``.
            seed: An int, or int64 ``[n]``: one seed for each row. None draws different samples at each call.
        """
        n = validation.sample_count(n, context, (1,), seed)
        seed = random.fresh_seed() if seed is None else seed
        seed = validation.as_numbers(seed, n, "seed", whole=True)
        seeds = random.row_seeds(int(seed), n) if seed.ndim == 0 else seed
        temperature = validation.as_numbers(temperature, n, "temperature")
        validation.check_temperature(temperature)
        temperature = np.broadcast_to(temperature, [n])
        inputs = {"seed": seeds, "temperature": temperature, "context": context}
        return self._run("sample", inputs, n)["x"]

    def encode(self, x: Any, context: Any = None) -> np.ndarray:
        """Latents ``[N, *latent_shape]`` of raw data ``[N, *event_shape]``."""
        return self._run("encode", {"x": x, "context": context})["z"]

    def decode(self, z: Any, context: Any = None) -> np.ndarray:
        """Raw data ``[N, *event_shape]`` of latents ``[N, *latent_shape]``."""
        return self._run("decode", {"z": z, "context": context})["x"]

    # -- the server ----------------------------------------------------------------------------
    def status(self) -> list[VersionStatus]:
        """The versions of the model that the server knows, and their states."""
        return self._asked("status", self._transport.status)

    def metadata(self) -> dict[str, Signature]:
        """The model's signatures: names, dtypes and shapes of inputs and outputs."""
        return self._asked("metadata", self._transport.metadata)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # -- requests ------------------------------------------------------------------------------
    def _run(
        self, name: str, given: dict[str, Any], rows: int | None = None, finite: bool = True
    ) -> dict[str, np.ndarray]:
        given = {key: self._from_frame(key, value) for key, value in given.items()}
        signature = self._signature(name)
        try:
            inputs = as_inputs(signature, given, rows, finite)
        except ValueError:
            # A newer version of the model may accept these inputs.
            self._signatures = None
            signature = self._signature(name)
            inputs = as_inputs(signature, given, rows, finite)
        rows = len(next(iter(inputs.values())))
        if rows == 0:  # A batching server would never answer an empty request.
            outputs = signature.outputs.items()
            return {key: np.zeros([size or 0 for size in spec.shape], spec.dtype) for key, spec in outputs}
        step = self._rows_a_request(signature)
        parts = [
            self._predict(name, signature, {key: a[start : start + step] for key, a in inputs.items()})
            for start in range(0, rows, step)
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}

    def _from_frame(self, name: str, value: Any) -> Any:
        """A data frame as an array, its columns matched by name; other values as they are."""
        if not is_frame(value):
            return value
        if name != "x":
            return frame_rows(value, None, name)
        if self._columns is None:
            raise ValueError(
                "x is a data frame, and the client does not know the flow's columns: pass columns= to Client "
                "(flowzoo_manifest.json of the exported version lists them), or x.to_numpy() in their order."
            )
        return frame_rows(value, self._columns, name)

    def _predict(
        self, name: str, signature: Signature, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        asked = f"{name} with {describe(inputs)}"
        outputs = self._asked(asked, lambda: self._transport.predict(name, signature, inputs))
        for key, array in outputs.items():
            if len(array) != rows:
                raise ServingError(f"{self._what}, {asked}: got {len(array)} rows of {key}, expected {rows}.")
        return outputs

    def _signature(self, name: str) -> Signature:
        if self._signatures is None:
            self._signatures = self.metadata()
        if name not in self._signatures:
            raise ValueError(
                f"{self._what} has no signature {name!r}; it has {', '.join(sorted(self._signatures))}. "
                "Is it a flow exported by flowzoo?"
            )
        return self._signatures[name]

    def _rows_a_request(self, signature: Signature) -> int:
        specs = [*signature.inputs.values(), *signature.outputs.values()]
        widest = max(math.prod(size or 1 for size in spec.shape[1:]) for spec in specs)
        return min(self._max_rows, rows_per_chunk([widest], most=2**19))

    def _asked(self, asked: str, ask: Callable[[], T]) -> T:
        """Runs a request; its errors name the model and the request."""
        try:
            return ask()
        except ServingError as error:
            raise type(error)(f"{self._what}, {asked}: {error}") from error.__cause__


def _open(url: str, model: ModelSpec, connection: Connection) -> Transport:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.netloc:
        from flowzoo.client.rest import RestTransport

        return RestTransport(url, model, connection)
    if parts.scheme in ("grpc", "grpcs") and parts.netloc:
        from flowzoo.client.rpc import GrpcTransport

        return GrpcTransport(parts.netloc, parts.scheme == "grpcs", model, connection)
    raise ValueError(
        f"url must be http://host:8501, https://..., grpc://host:8500 or grpcs://...; got {url!r}."
    )
