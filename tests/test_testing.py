"""Each check of `flowzoo.testing` finds its kind of fault in a faulty flow."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow, bases, layers, testing
from flowzoo.bijectors import Affine
from flowzoo.conditioners import MLP
from flowzoo.models import _registry as registry


@keras.saving.register_keras_serializable("flowzoo_tests")
class Faulty(layers.ActNorm):
    """An ActNorm with one fault, or none."""

    def __init__(self, fault="", **kwargs):
        super().__init__(**kwargs)
        self.fault = fault

    def create_weights(self, event_shape, context_shape):
        super().create_weights(event_shape, context_shape)
        if self.fault == "idle weight":
            self.idle = self.add_weight(name="idle", shape=(2,))

    def bijector(self, context=None, training=False):
        return FaultyAffine(
            self.fault, self.shift.value, self.log_scale.value, self.event_shape, dtype=self.variable_dtype
        )

    def get_config(self):
        # A "forgetful" layer loses its fault when it is saved.
        return {**super().get_config(), "fault": "" if self.fault == "forgetful" else self.fault}


class FaultyAffine(Affine):
    def __init__(self, fault, *args, **kwargs):
        self.fault = fault
        super().__init__(*args, **kwargs)

    def _forward_and_log_det(self, z):
        x, log_det = super()._forward_and_log_det(z)
        if self.fault == "forward log-det":
            log_det += 1e-4
        if self.fault == "inverse":
            x += 1e-3
        return x, log_det

    def _inverse_and_log_det(self, x):
        z, log_det = super()._inverse_and_log_det(x)
        if self.fault == "both log-dets":
            log_det += 0.01
        if self.fault == "neighbours":
            z += tf.cast(1e-3, z.dtype) * tf.reduce_mean(tf.where(tf.math.is_finite(z), z, 0.0), 0)
        if self.fault == "eager":
            z += 0.01 if tf.executing_eagerly() else 0.0
        if self.fault == "forgetful":
            z += 0.01
        return z, log_det


class Skewed(bases.Normal):
    """A base whose samples do not follow its density."""

    def sample(self, seeds, temperature, context=None):
        return 1.1 * super().sample(seeds, temperature, context)


class Unseeded(bases.Normal):
    """A base whose samples depend on more than the seeds."""

    def sample(self, seeds, temperature, context=None):
        return super().sample(seeds, temperature) + tf.random.normal([])


class Batchwise(bases.Normal):
    """A base whose samples depend on their place in the batch."""

    def sample(self, seeds, temperature, context=None):
        return super().sample(seeds[:1] + tf.range(tf.shape(seeds)[0], dtype=tf.int64), temperature)


def make(fault="", dtype="float64", moved=0.3):
    flow = Flow([Faulty(fault, dtype=dtype)], (2,), base=bases.Normal(dtype=dtype), dtype=dtype)
    testing.perturb(flow, moved)
    return flow


@pytest.mark.parametrize("check", [*testing.FLOAT64_CHECKS, *testing.DENSITY_CHECKS])
def test_a_sound_flow_passes(check):
    check(make())


def test_a_sound_new_flow_passes():
    testing.check_near_identity(make(moved=0.0))


@pytest.mark.parametrize(
    ("check", "fault", "message"),
    [
        (testing.check_inverse, "inverse", r"forward\(inverse\(x\)\) is not x"),
        (testing.check_log_det, "forward log-det", "the forward log-det: off by 0.0001"),
        (testing.check_log_det, "both log-dets", "the inverse log-det: off by 0.01"),
        (testing.check_density, "both log-dets", r"the density integrates to 1\.01"),
        (testing.check_gradients, "idle weight", "idle gets no gradient"),
        (testing.check_rows, "neighbours", "log_prob of a row"),
        (testing.check_runtimes, "eager", "graph against eager: off by"),
        (testing.check_saving, "forgetful", r"a \.keras file changes log_density"),
        (testing.check_near_identity, "", "a new flow's log-det is"),
    ],
)
def test_a_faulty_layer_is_found(check, fault, message):
    with pytest.raises(AssertionError, match=message):
        check(make(fault))


@pytest.mark.parametrize(
    ("check", "base", "message"),
    [
        (testing.check_samples, Skewed, "column 0 of the samples does not follow the density"),
        (testing.check_seeds, Unseeded, "the same seed gave different samples"),
        (testing.check_rows, Batchwise, "the noise of a row alone"),
    ],
)
def test_a_faulty_base_is_found(check, base, message):
    flow = Flow([layers.ActNorm()], (2,), base=base())
    testing.perturb(flow, 0.3)
    with pytest.raises(AssertionError, match=message):
        check(flow)


def test_a_context_that_is_ignored_is_found():
    flow = Flow([layers.ActNorm()], (2,), (3,))
    with pytest.raises(AssertionError, match=r"context\[0\] does not change log_prob"):
        testing.check_context(flow)


def test_a_dead_weight_is_found():
    coupling = layers.AffineCoupling(MLP((4,)))
    with pytest.raises(AssertionError, match=r"the gradient of .* is zero"):
        testing.check_gradients(Flow([coupling], (2,)))


def test_an_uninformative_message_is_found(monkeypatch):
    def refuse(*_):
        raise ValueError("bad input")

    monkeypatch.setattr("flowzoo.utils.validation.as_rows", refuse)
    with pytest.raises(AssertionError, match=r"'bad input' does not say '\(N, 2\)'"):
        testing.check_messages(make())


def test_an_accepted_mistake_is_found(monkeypatch):
    flow = make()
    monkeypatch.setattr(flow, "log_prob", lambda *_: None)
    flow.log_prob.__name__ = "log_prob"
    with pytest.raises(AssertionError, match="log_prob raised no ValueError"):
        testing.check_messages(flow)


def test_an_export_of_another_flow_is_found(tmp_path):
    flow, other = make(dtype="float32"), make(dtype="float32")
    testing.perturb(other, 0.1, seed=5)
    flow.export = other.export
    with pytest.raises(AssertionError, match="signature log_prob, log_prob: off by"):
        testing.check_saved_model(flow)


def test_an_export_with_xla_inside_is_found(monkeypatch):
    flow = make(dtype="float32")
    compiled = tf.function(flow.density.score_rows, jit_compile=True)
    monkeypatch.setattr(flow.density, "score_rows", lambda *args: compiled(*args))
    with pytest.raises(ValueError, match="with XLA, which TensorFlow Serving refuses"):
        testing.check_saved_model(flow)


def test_a_distribution_of_another_flow_is_found(monkeypatch):
    flow, other = make(dtype="float32"), make(dtype="float32")
    testing.perturb(other, 0.1, seed=5)
    monkeypatch.setattr(flow, "distribution", other.distribution)
    with pytest.raises(AssertionError, match="log_prob of the TFP distribution"):
        testing.check_distribution(flow)


def test_check_bijector_checks_both_directions(rng):
    z = rng.normal(size=(3, 2))
    testing.check_bijector(Affine([1.0, 2.0], [0.1, 0.2], (2,), dtype=tf.float64), z)
    for fault, message in (("inverse", "is not z"), ("forward log-det", "forward log-det")):
        with pytest.raises(AssertionError, match=message):
            testing.check_bijector(
                FaultyAffine(fault, [1.0, 2.0], [0.1, 0.2], (2,), dtype=tf.float64, name="faulty"), z
            )


def test_log_det_by_autodiff_is_exact_for_a_matrix(rng):
    matrix = rng.normal(size=(4, 4))
    rows = tf.constant(rng.normal(size=(3, 4)))
    got = testing.log_det_by_autodiff(lambda x: tf.linalg.matvec(matrix, x) ** 3, rows)
    y = np.asarray(rows) @ matrix.T
    wanted = np.linalg.slogdet(matrix)[1] + np.log(3 * y**2).sum(1)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_perturb_changes_trainable_weights_only():
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
    before = {weight.path: weight.numpy() for weight in flow.weights}
    testing.perturb(flow, 0.1)
    for weight in flow.weights:
        moved = weight.numpy() != before[weight.path]
        assert np.all(moved) if weight.trainable else not np.any(moved)


@pytest.mark.parametrize(("event", "context"), [((2,), None), ((3,), (2,))])
def test_check_promises_runs_on_a_third_party_flow(event, context):
    @flowzoo.register_model("borrowed", paper="none")
    def borrowed(event_shape, context_shape=None, *, width: int = 4):
        """One coupling."""
        return [layers.ActNorm(), layers.AffineCoupling(MLP((width,)))]

    try:
        testing.check_promises("borrowed", event, context, width=5)
    finally:
        registry.unregister_model("borrowed")


def test_raw_rows_suit_the_preprocessing():
    plain = Flow([], (3,))
    whole = Flow([], (3,), preprocessing=[layers.Dequantize()])
    pixels = Flow([], (2, 2, 1), preprocessing=[layers.Dequantize(), layers.Logit(0, 17)])
    assert testing.raw_rows(plain, 5).dtype == np.float64
    assert testing.raw_rows(whole, 5).dtype == np.int64
    assert testing.raw_rows(pixels, 500).max() == 16
