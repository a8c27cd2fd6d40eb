"""Checks, batch splitting and seeds of the client, with a transport that answers at once."""

import numpy as np
import pytest

from flowzoo import random
from flowzoo.client import Client, Signature, TensorSpec
from flowzoo.client import client as module

ROWS, CONTEXT = TensorSpec("float32", (None, 2)), TensorSpec("float32", (None, 3))
VECTOR = TensorSpec("float32", (None,))
SEED = TensorSpec("int64", (None,))


def signatures(x=ROWS, **more):
    density, valid = {"log_prob": VECTOR}, {"valid": TensorSpec("bool", (None,))}
    return {
        "log_prob": Signature({"x": x, **more}, density),
        "score": Signature({"x": x, **more}, {**density, **valid}),
        "sample": Signature({"seed": SEED, "temperature": VECTOR, **more}, {"x": x}),
        "decode": Signature({"z": TensorSpec("float32", (None, 4)), **more}, {"x": x}),
    }


class Transport:
    """Answers zeros and records the requests."""

    def __init__(self, known):
        self.known, self.sent, self.metadata_calls = known, [], 0

    def predict(self, name, signature, inputs):
        self.sent.append((name, inputs))
        rows = len(next(iter(inputs.values())))
        return {k: np.zeros((rows, *s.shape[1:]), s.dtype) for k, s in signature.outputs.items()}

    def metadata(self):
        self.metadata_calls += 1
        return self.known

    def close(self):
        pass


@pytest.fixture
def connect(monkeypatch):
    def make(known, **options):
        transport = Transport(known)
        monkeypatch.setattr(module, "_open", lambda *_: transport)
        return Client("http://nowhere", "toy", **options), transport

    return make


def test_large_batches_are_split_and_joined(connect):
    client, transport = connect(signatures(context=CONTEXT), max_rows=4)
    x, context = np.arange(20.0).reshape(10, 2), np.arange(30.0).reshape(10, 3)
    assert client.log_prob(x, context).shape == (10,)
    assert [len(inputs["x"]) for _, inputs in transport.sent] == [4, 4, 2]
    for key, whole in (("x", x), ("context", context)):
        np.testing.assert_array_equal(np.concatenate([sent[key] for _, sent in transport.sent]), whole)
    assert transport.metadata_calls == 1


@pytest.mark.parametrize(
    ("shape", "rows"),
    # The max_batch_size that an export of such a flow writes.
    [((2,), 1024), ((28, 28, 1), 512), ((32, 32, 3), 128), ((64, 64, 3), 64), ((1024, 1024, 3), 64)],
)
def test_no_request_is_larger_than_an_exported_flow_allows(connect, shape, rows):
    client, transport = connect(signatures(TensorSpec("uint8", (None, *shape))))
    transport.predict = lambda name, signature, inputs: (
        transport.sent.append(len(inputs["seed"]))
        or {"x": np.broadcast_to(np.uint8(0), (len(inputs["seed"]), 1))}
    )
    client.sample(rows + 1)
    assert transport.sent == [rows, 1]


def test_one_seed_expands_to_row_seeds(connect):
    client, transport = connect(signatures(), max_rows=3)
    client.sample(5, temperature=0.5, seed=7)
    seeds = np.concatenate([inputs["seed"] for _, inputs in transport.sent])
    np.testing.assert_array_equal(seeds, random.row_seeds(7, 5))
    assert all((inputs["temperature"] == np.float32(0.5)).all() for _, inputs in transport.sent)


def test_given_seeds_and_temperatures_are_sent(connect):
    client, transport = connect(signatures(context=CONTEXT))
    client.sample(context=np.ones((2, 3)), temperature=[0.1, 0.2], seed=np.array([3, 4]))
    ((_, inputs),) = transport.sent
    assert inputs["seed"].tolist() == [3, 4]
    assert inputs["temperature"].dtype == np.float32
    client.sample(3, [1, 2, 3])
    np.testing.assert_array_equal(transport.sent[-1][1]["context"], [[1, 2, 3]] * 3)


def test_empty_batches_are_not_sent(connect):
    client, transport = connect(signatures())
    assert client.log_prob(np.zeros((0, 2))).shape == (0,)
    assert client.sample(0).shape == (0, 2)
    score = client.score(np.zeros((0, 2)))
    assert score.valid.dtype == bool
    assert score.bits_per_dim is None
    assert transport.sent == []


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint8, list])
def test_any_numeric_dtype_is_cast_to_the_signatures(connect, kind):
    client, transport = connect(signatures())
    x = [[1, 2], [3, 4]]
    client.log_prob(x if kind is list else np.array(x, kind))
    assert transport.sent[0][1]["x"].dtype == np.float32
    client, transport = connect(signatures(TensorSpec("uint8", (None, 2))))
    client.log_prob(x if kind is list else np.array(x, kind))
    assert transport.sent[0][1]["x"].dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 3)),), r"x must have shape \(N, 2\); got \(4, 3\)"),
        ((np.zeros(2),), r"got \(2,\)\. This is one row without a batch axis: pass x\[None\]"),
        (([[1, 2], [3]],), "x must be an array of numbers with equal rows"),
        (([["a", "b"]],), "x must hold numbers; got dtype <U1"),
        (([[np.nan, 0]],), "x holds NaN or infinity in 1 of 1 rows"),
        (([[1e39, 0]],), "x holds NaN or infinity in 1 of 1 rows"),
        ((np.zeros((4, 2)), np.zeros(3)), "takes no context"),
    ],
)
def test_mistakes_are_reported_before_anything_is_sent(connect, arguments, message):
    client, transport = connect(signatures())
    with pytest.raises(ValueError, match=message):
        client.log_prob(*arguments)
    assert transport.sent == []


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, r"conditional: pass a context of shape \(N, 3\)"),
        (np.zeros((4, 2)), r"context must have shape \(N, 3\); got \(4, 2\)"),
        (np.zeros((5, 3)), "context has 5 rows; expected 4"),
    ],
)
def test_wrong_contexts(connect, context, message):
    client, _ = connect(signatures(context=CONTEXT))
    with pytest.raises(ValueError, match=message):
        client.log_prob(np.zeros((4, 2)), context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "sample needs one number of samples"),
        ({"n": -1}, "n must be >= 0"),
        ({"n": 2, "seed": [1, 2, 3]}, "sample needs one number of samples"),
        ({"n": 2, "seed": 0.5}, "seed must be one whole number"),
        ({"n": 2, "temperature": [1, 2, 3]}, "temperature must be one number or 2"),
    ],
)
def test_wrong_sample_arguments(connect, arguments, message):
    client, _ = connect(signatures())
    with pytest.raises(ValueError, match=message):
        client.sample(**arguments)


@pytest.mark.parametrize("bad", [0.5, -1, 256, np.nan])
def test_pixels_are_whole_numbers(connect, bad):
    client, _ = connect(signatures(TensorSpec("uint8", (None, 2))))
    with pytest.raises(ValueError, match="x is sent as uint8 and must hold whole numbers from 0 to 255; got"):
        client.score([[0, bad]])


def test_another_model_under_the_same_name_is_noticed(connect):
    client, transport = connect(signatures())
    client.log_prob(np.zeros((1, 2)))
    transport.known = signatures(TensorSpec("float64", (None, 5)))
    assert client.log_prob(np.zeros((1, 5))).shape == (1,)
    assert transport.sent[-1][1]["x"].dtype == np.float64


def test_a_model_that_is_not_a_flow(connect):
    client, _ = connect({"serving_default": signatures()["log_prob"]})
    with pytest.raises(
        ValueError, match=r"has no signature 'log_prob'; it has serving_default\. Is it a flow"
    ):
        client.log_prob(np.zeros((1, 2)))


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://host", "http://", "", "/v1"])
def test_unknown_addresses(url):
    with pytest.raises(ValueError, match="url must be http://host:8501"):
        Client(url, "toy")


def test_wrong_options():
    with pytest.raises(ValueError, match="Give a version or a label, not both; got 1 and 'canary'"):
        Client("http://localhost", "toy", 1, "canary")
    with pytest.raises(ValueError, match="max_rows must be >= 1; got 0"):
        Client("http://localhost", "toy", max_rows=0)
