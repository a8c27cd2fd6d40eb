"""gRPC transport of the client.

It imports TensorFlow: `tensorflow_serving.apis` uses TensorFlow's protocol buffers, which are modules inside
the package, so even ``tensorflow.core.framework.tensor_pb2`` loads all of it (2 to 4 seconds, once). REST
avoids this.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    import grpc
except ImportError:
    raise ImportError("The gRPC client needs grpcio: pip install 'flowzoo[serving]'.") from None

import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_UNAVAILABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
_REFUSED = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_OPTIONS = [
    # The default limit, 4 MB, is less than 1,000 rows of 32 x 32 x 3 floats.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Pauses before reconnecting; with the defaults our retries run out first.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class GrpcTransport:
    """Talks to the gRPC port over one channel; see `Transport`.

    Args:
        address: "host:8500".
        secure: Whether to use TLS.
        model: Model and version to call.
        connection: Deadline, retries, headers, TLS.
    """

    def __init__(self, address: str, secure: bool, model: ModelSpec, connection: Connection):
        self._connection = connection
        self._model = model
        self._headers = [(key.lower(), value) for key, value in connection.headers.items()]
        if secure:
            self._channel = grpc.secure_channel(address, _credentials(connection), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self, name: str, signature: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""
        request = predict_pb2.PredictRequest(model_spec=self._spec(name))
        for key, array in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
        outputs = self._ask(self._prediction.Predict, request).outputs
        return {key: tf.make_ndarray(outputs[key]) for key in signature.outputs}

    def status(self) -> list[VersionStatus]:
        """The versions of the model and their states."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        versions = self._ask(self._models.GetModelStatus, request).model_version_status
        state = get_model_status_pb2.ModelVersionStatus.State
        return [VersionStatus(v.version, state.Name(v.state), v.status.error_message) for v in versions]

    def metadata(self) -> dict[str, Signature]:
        """The model's signatures."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        packed = self._ask(self._prediction.GetModelMetadata, request).metadata["signature_def"]
        signatures = get_model_metadata_pb2.SignatureDefMap.FromString(packed.value)
        shown = MessageToDict(
            signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return read_signatures(shown["signature_def"])

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _spec(self, signature: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._model.name, signature_name=signature)
        if self._model.version is not None:
            spec.version.value = self._model.version
        elif self._model.label is not None:
            spec.version_label = self._model.label
        return spec

    def _ask(self, method: Callable, request: Any) -> Any:
        return retrying(lambda left: self._send(method, request, left), self._connection)

    def _send(self, method: Callable, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def _translated(self, error: grpc.RpcError) -> ServingError:
        code, reason = error.code(), textwrap.shorten(error.details() or "", 500, placeholder=" ...")
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServingError(f"no answer within {self._connection.timeout:g} s")
        if code in _UNAVAILABLE:
            return UnavailableError(f"{reason} ({code.name})")
        return (RefusedError if code in _REFUSED else ServingError)(f"{reason} ({code.name})")


def _credentials(connection: Connection) -> grpc.ChannelCredentials:
    def read(path: str | None) -> bytes | None:
        return None if path is None else Path(path).read_bytes()

    certificate, key = connection.client_cert or (None, None)
    return grpc.ssl_channel_credentials(read(connection.ca_file), read(key), read(certificate))
