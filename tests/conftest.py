"""Fixtures for several test files, and seeds that make every run repeatable."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

# The same examples in every run, so that a failure comes from a change and not from chance.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Seeds Keras before all fixtures, module fixtures included, so that weights repeat too."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def assert_like_oracle():
    """Compares a fused bijector with a TFP bijector: values and log-dets in both directions."""

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


# Messages of tensorflow/serving whose Python modules are not in the package tensorflow-serving-api, from
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
# tensorflow_serving/config/monitoring_config.proto.
SERVER_MESSAGES = """
name: "server.proto" package: "tensorflow.serving" syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "batch_timeout_micros" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "max_enqueued_batches" number: 3 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "num_batch_threads" number: 4 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "thread_pool_name" number: 5 type: TYPE_MESSAGE type_name: ".google.protobuf.StringValue" }
  field { name: "allowed_batch_sizes" number: 6 label: LABEL_REPEATED type: TYPE_INT64 }
}
message_type {
  name: "PrometheusConfig"
  field { name: "enable" number: 1 type: TYPE_BOOL }
  field { name: "path" number: 2 type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field {
    name: "prometheus_config" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.serving.PrometheusConfig"
  }
}
"""


@pytest.fixture(scope="session")
def parse_server_text():
    """``parse(message_name, text)``: reads a text proto as TensorFlow Serving does."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(SERVER_MESSAGES, descriptor_pb2.FileDescriptorProto()))

    def parse(name, text):
        descriptor = pool.FindMessageTypeByName(f"tensorflow.serving.{name}")
        return text_format.Parse(text, message_factory.GetMessageClass(descriptor)())

    return parse
