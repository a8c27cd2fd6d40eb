"""Sharding a batch over cores does not change training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.backend import sharding
from flowzoo.training import loops


def make(**options):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("glow", (4, 4, 1), levels=1, steps=1, channels=8, **options)
    flow.compile(keras.optimizers.Adam(1e-2), seed=3)
    return flow


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (44, 4, 4, 1)).astype("uint8")


def trained(flow, images):
    """Metrics of a training with row weights and a last batch that does not divide."""
    weights = np.linspace(0.5, 1.5, len(images)).astype("float32")
    flow.adapt(images)
    options = {"batch_size": 16, "verbose": 0}
    history = flow.fit(images, sample_weight=weights, epochs=2, shuffle=False, **options).history
    evaluated = flow.evaluate(images[:21], return_dict=True, **options)
    return history["nll"] + [evaluated["nll"], evaluated["bits_per_dim"]]


def assert_alike(flow, other, images):
    np.testing.assert_allclose(trained(flow, images), trained(other, images), rtol=1e-5)
    for a, b in zip(flow.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_two_cores_train_as_one_does_with_the_same_noise(monkeypatch, images):
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(sharding, "cores", lambda cores=cores: cores)
        flow = make()
        found.append(trained(flow, images))
        assert isinstance(flow.train_function, loops.PaddedSteps)
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_shards_train_as_a_graph_does(monkeypatch, images):
    monkeypatch.setattr(sharding, "cores", lambda: 2)
    shared, graph = make(preprocessing="standardize"), make(preprocessing="standardize")
    graph.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    assert_alike(shared, graph, images)
    assert not isinstance(graph.train_function, loops.PaddedSteps)


@pytest.fixture
def traced(monkeypatch):
    """Records the numbers of rows that programs are traced for."""
    rows = []

    class Counted(sharding.ShardedMean):
        def __init__(self, compute, *args, **kwargs):
            def counted(*batch):
                rows.append(batch[0].shape[0])
                return compute(*batch)

            super().__init__(counted, *args, **kwargs)

    monkeypatch.setattr(sharding, "ShardedMean", Counted)
    return rows


@pytest.mark.parametrize(
    ("cores", "batch", "part"), [(2, 16, 8), (3, 16, 8), (64, 32, 8), (2, 15, 15), (2, 22, 11), (2, 4, 4)]
)
def test_shards_are_equal_and_a_short_batch_does_not_recompile(
    monkeypatch, images, traced, cores, batch, part
):
    monkeypatch.setattr(sharding, "cores", lambda: cores)
    make().fit(images, batch_size=batch, epochs=2, verbose=0)
    assert traced == [part]


def test_dropout_has_one_program(monkeypatch, images, traced):
    monkeypatch.setattr(sharding, "cores", lambda: 2)
    history = make(dropout=0.5).fit(images, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(history["nll"]).all()
    assert traced == [16]


def test_steps_that_are_not_finite_are_left_out(images, recwarn):
    flow = make()
    flow.adapt(images)
    flow.transforms[0].weights[0].assign(tf.fill(flow.transforms[0].weights[0].shape, np.float32(np.nan)))
    before = [weight.numpy() for weight in flow.trainable_variables]
    flow.fit(images, batch_size=16, verbose=0)
    for a, b in zip(before, flow.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_wide_networks_stay_a_graph():
    flow = flowzoo.create_model("glow", (4, 4, 1), levels=1, steps=1, channels=8, residual=True)
    flow.compile()
    assert not flow.use_xla
    assert not flow.jit_compile


# -- vectors: all shards in one program ------------------------------------------------------
def make_vectors(**options):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (3,), steps=2, hidden_units=(8,), **options)
    flow.compile(keras.optimizers.Adam(1e-2), seed=3, l2=1e-3, noise=0.1)
    return flow


@pytest.fixture
def rows(rng):
    return rng.normal(size=(44, 3)).astype("float32")


@pytest.fixture
def little_work_counts(monkeypatch):
    monkeypatch.setattr(sharding, "_LEAST_WORK", 2**9)


@pytest.mark.usefixtures("little_work_counts")
def test_two_shards_for_vectors_train_as_one_does_with_the_same_noise(monkeypatch, rows, traced):
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(sharding, "cores", lambda cores=cores: cores)
        flow = make_vectors()
        weights = np.linspace(0.5, 1.5, len(rows)).astype("float32")
        history = flow.fit(rows, sample_weight=weights, batch_size=16, epochs=3, verbose=0, shuffle=False)
        found.append(history.history["nll"] + [flow.evaluate(rows[:21], batch_size=16, verbose=0)])
        assert isinstance(flow.train_function, loops.StepLoop)
    np.testing.assert_allclose(found[0][:3], found[1][:3], rtol=1e-5)
    np.testing.assert_allclose(found[0][3], found[1][3], rtol=1e-5)
    assert set(traced) == {16, 8}


@pytest.mark.usefixtures("little_work_counts")
def test_dropout_for_vectors_has_one_shard(monkeypatch, rows, traced):
    monkeypatch.setattr(sharding, "cores", lambda: 2)
    make_vectors(dropout=0.5).fit(rows, batch_size=16, verbose=0)
    assert set(traced) == {16}


def test_little_work_has_one_shard(monkeypatch, rows, traced):
    monkeypatch.setattr(sharding, "cores", lambda: 2)
    make_vectors().fit(rows, batch_size=16, verbose=0)
    assert set(traced) == {16}
