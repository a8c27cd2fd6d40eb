"""Server of the stand-in: a REST port, a gRPC port, and a poll for new versions."""

from __future__ import annotations

import os
import threading
from pathlib import Path

try:
    import grpc  # noqa: F401
except ImportError:
    raise ImportError("The server needs grpcio: pip install 'flowzoo[serving]'.") from None

from flowzoo.devserver import rest, rpc
from flowzoo.devserver.models import Models

_GRACE_SECONDS = 5.0


class Server:
    """Serves exported flows over REST and gRPC, for development.

    It answers like TF Serving and runs the SavedModel in a session like TF Serving, but it does not batch.
    It serves the newest version of each model that can be loaded, or the versions that a configuration
    names. The old version answers while a new one is loaded.

    Args:
        directory: A model's folder (``directory/1/saved_model.pb``), or a folder of such folders.
        config: A ``models.config`` of TF Serving, with versions and labels; read again when it changes. The
            last component of a ``base_path`` is the model's folder in `directory`.
        host: Address to listen on; this machine only by default.
        rest_port: Port of the REST API; 0 chooses a free one.
        grpc_port: Port of the gRPC API; 0 chooses a free one.
        poll_seconds: Seconds between polls for new versions.

    Raises:
        ValueError: If the directory holds no model that can be loaded, the configuration cannot be read, or
            a port is in use.

    Example:
        >>> with Server("models/flights") as server:  # doctest: +SKIP
        ...     flowzoo.client.Client(f"http://{server.rest_address}", "flights").sample(3)
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        config: str | os.PathLike | None = None,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        grpc_port: int = 0,
        poll_seconds: float = 1.0,
    ):
        self.models = Models(Path(directory), None if config is None else Path(config))
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        try:
            self._http = rest.HttpServer((host, rest_port), self.models)
        except OSError as error:
            raise ValueError(f"Cannot listen on {host}:{rest_port}: {error.strerror}.") from None
        try:
            self._grpc, port = rpc.start(f"{host}:{grpc_port}", self.models)
        except RuntimeError:
            self._http.server_close()
            raise ValueError(f"Cannot listen on {host}:{grpc_port}; the port may be in use.") from None
        self.rest_address = f"{host}:{self._http.server_address[1]}"
        self.grpc_address = f"{host}:{port}"
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (lambda: self._http.serve_forever(0.1), self._poll)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Waits until another thread calls `stop`."""
        self._stopping.wait()

    def stop(self) -> None:
        """Stops listening; gRPC requests in progress may finish."""
        self._stopping.set()
        self._grpc.stop(_GRACE_SECONDS).wait()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.models.refresh()
