"""gRPC server of the stand-in: PredictionService and ModelService."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from flowzoo.devserver.models import DEFAULT_SIGNATURE, Models, Version, read_tensors
from flowzoo.devserver.replies import metadata_reply, status_reply

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_THREADS = 64
# A status is sent in a header, and headers are short.
_LONGEST_MESSAGE = 1000


def start(address: str, models: Models) -> tuple[grpc.Server, int]:
    """Starts a server; returns it with its port.

    Raises:
        RuntimeError: If the address is in use.
    """
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # Two servers on one port would share the requests.
    ]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=options)
    add_PredictionServiceServicer_to_server(_Prediction(models), server)
    add_ModelServiceServicer_to_server(_ModelStatus(models), server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def _answering(method: Callable) -> Callable:
    """Turns a TensorFlow error into the gRPC status with the same code."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except tf.errors.OpError as error:
            context.abort(_CODES[error.error_code], error.message[:_LONGEST_MESSAGE])

    return answer


class _Prediction(PredictionServiceServicer):
    def __init__(self, models: Models):
        self._models = models

    @_answering
    def Predict(self, request: PredictRequest) -> PredictResponse:  # noqa: N802
        version = _find(self._models, request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = version.run(name, read_tensors(request), request.output_filter)
        reply = PredictResponse()
        reply.model_spec.name, reply.model_spec.signature_name = request.model_spec.name, name
        reply.model_spec.version.value = version.number
        for key, array in outputs.items():
            reply.outputs[key].CopyFrom(tf.make_tensor_proto(array))
        return reply

    @_answering
    def GetModelMetadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:  # noqa: N802
        if list(request.metadata_field) != ["signature_def"]:
            message = f"metadata_field must be signature_def; got {list(request.metadata_field)}"
            raise tf.errors.InvalidArgumentError(None, None, message)
        return metadata_reply(request.model_spec.name, _find(self._models, request.model_spec))


class _ModelStatus(ModelServiceServicer):
    def __init__(self, models: Models):
        self._models = models

    @_answering
    def GetModelStatus(self, request: GetModelStatusRequest) -> GetModelStatusResponse:  # noqa: N802
        return status_reply(self._models, request.model_spec.name, _number(request.model_spec))


def _find(models: Models, spec: ModelSpec) -> Version:
    return models.find(spec.name, _number(spec), spec.version_label or None)


def _number(spec: ModelSpec) -> int | None:
    return spec.version.value if spec.HasField("version") else None
