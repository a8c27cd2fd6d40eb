"""Replies that REST and gRPC share: a model's status and signatures, as TF Serving's messages."""

from __future__ import annotations

from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus

from flowzoo.devserver.models import Models, Version


def status_reply(models: Models, name: str, version: int | None) -> GetModelStatusResponse:
    """The states of a model's versions, newest first."""
    statuses = models.status(name, version)
    reply = GetModelStatusResponse()
    for number in sorted(statuses, reverse=True):
        status = statuses[number]
        shown = reply.model_version_status.add()
        shown.version, shown.state = number, ModelVersionStatus.State.Value(status.state)
        shown.status.error_code, shown.status.error_message = status.code, status.message
    return reply


def metadata_reply(name: str, version: Version) -> GetModelMetadataResponse:
    """The signatures of a version."""
    reply = GetModelMetadataResponse()
    reply.model_spec.name, reply.model_spec.version.value = name, version.number
    reply.metadata["signature_def"].Pack(signature_map(version))
    return reply


def signature_map(version: Version) -> SignatureDefMap:
    """The signatures of a version, as `metadata_reply` packs them."""
    signatures = SignatureDefMap()
    for key, signature in version.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    return signatures
