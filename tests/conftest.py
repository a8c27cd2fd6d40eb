"""Fixtures that several test files use."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

# The same examples in every run: a red run is a change's doing, never the dice's.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def assert_like_oracle():
    """Compares a fused bijector with one of TFP's: values and log-dets, both ways."""

    def check(bijector, oracle, z, tolerance=1e-9):
        z = tf.convert_to_tensor(z, bijector.dtype)
        latent_ndims, data_ndims = len(bijector.latent_shape), len(bijector.data_shape)
        x = oracle.forward(z)
        pairs = [
            (bijector.forward(z), x),
            (bijector.inverse(x), z),
            (
                bijector.forward_log_det_jacobian(z, latent_ndims),
                oracle.forward_log_det_jacobian(z, latent_ndims),
            ),
            (
                bijector.inverse_log_det_jacobian(x, data_ndims),
                oracle.inverse_log_det_jacobian(x, data_ndims),
            ),
        ]
        for ours, theirs in pairs:
            ours = np.broadcast_to(ours, np.broadcast_shapes(ours.shape, theirs.shape))
            theirs = np.broadcast_to(theirs, ours.shape)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)

    return check


# tensorflow_serving/servables/tensorflow/session_bundle_config.proto of tensorflow/serving, whose Python
# module is not in the package tensorflow-serving-api. The type None is a repeated int64.
BATCHING_PARAMETERS = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "allowed_batch_sizes": None,
}


@pytest.fixture(scope="session")
def parse_batching():
    """Reads the text of a ``tensorflow.serving.BatchingParameters`` as the server does, and checks it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    for number, (name, wrapper) in enumerate(BATCHING_PARAMETERS.items(), start=1):
        added = message.field.add(name=name, number=number, label=field.LABEL_OPTIONAL)
        if wrapper is None:
            added.label, added.type = field.LABEL_REPEATED, field.TYPE_INT64
        else:
            added.type, added.type_name = field.TYPE_MESSAGE, f".google.protobuf.{wrapper}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))

    def parse(text):
        parameters = text_format.Parse(text, kind())
        sizes = list(parameters.allowed_batch_sizes)
        if sizes:
            # What the server demands of a file: WrapSessionForBatching in bundle_factory_util.cc.
            assert sizes == sorted(set(sizes))
            assert sizes[-1] == parameters.max_batch_size.value
        return parameters

    return parse
