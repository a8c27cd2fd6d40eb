"""Objectives: what a step computes is their business; metrics have names and a direction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo.training import MaximumLikelihood, Objective


@keras.saving.register_keras_serializable("tests")
class MeanLogDensity(Objective):
    """The likelihood with its sign: more is better."""

    lower_is_better = False

    def __init__(self, factor=1.0):
        self.factor = factor

    def metrics(self, density):
        return ("mean_log_density", "largest")

    def __call__(self, density, batch):
        log_density = density.log_density(batch.x, batch.context, batch.training, noise_seed=batch.seed)
        mean, weight = batch.mean(log_density)
        largest = tf.reduce_max(log_density)
        return {"loss": -self.factor * mean, "mean_log_density": mean, "largest": largest}, weight

    def get_config(self):
        return {"factor": self.factor}


@pytest.fixture
def x(rng):
    return rng.normal(3.0, 2.0, (200, 2)).astype("float32")


def make(**options):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
    flow.compile(keras.optimizers.Adam(1e-2), **options)
    return flow


def test_maximum_likelihood_is_the_default(x):
    default, named = make(), make(objective=MaximumLikelihood())
    histories = [flow.fit(x, shuffle=False, verbose=0).history for flow in (default, named)]
    assert histories[0] == histories[1]
    assert set(histories[0]) == {"loss", "nll"}


@pytest.mark.parametrize(
    "options", [{}, {"run_eagerly": True}, {"jit_compile": False}], ids=["xla", "eager", "graph"]
)
def test_an_objective_of_ones_own_trains_in_every_loop(x, options):
    flow = make(objective=MeanLogDensity(2.0), **options)
    history = flow.fit(x, epochs=3, batch_size=64, validation_data=x, verbose=0).history
    assert history["mean_log_density"][-1] > history["mean_log_density"][0]
    np.testing.assert_allclose(history["loss"], -2.0 * np.array(history["mean_log_density"]), rtol=1e-5)
    expected = float(np.mean(flow.log_prob(x)))
    assert history["val_mean_log_density"][-1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "monitor", "lower"),
    [("maximum_likelihood", "val_nll", True), (MeanLogDensity(), "val_mean_log_density", False)],
)
def test_callbacks_know_the_direction_without_a_mode(x, tmp_path, objective, monitor, lower):
    flow = make(objective=objective)
    stop = keras.callbacks.EarlyStopping(monitor, patience=5, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", monitor, save_best_only=True, save_weights_only=True
    )
    slow = keras.callbacks.ReduceLROnPlateau(monitor)
    history = flow.fit(x, epochs=2, validation_data=x, callbacks=[stop, keep, slow], verbose=0).history
    best = (min if lower else max)(history[monitor])
    assert stop.best == keep.best == pytest.approx(best)


def test_bits_per_dim_of_images_has_the_direction_too(rng):
    flow = flowzoo.create_model("realnvp", (4, 4, 1), levels=1, channels=2, blocks=0)
    images = rng.integers(0, 256, (16, 4, 4, 1))
    stop = keras.callbacks.EarlyStopping("val_bits_per_dim")
    flow.compile(run_eagerly=True)
    flow.fit(images, epochs=1, validation_data=images, callbacks=[stop], verbose=0)
    assert np.isfinite(stop.best)


def test_it_is_saved_with_the_flow(x, tmp_path):
    flow = make(objective=MeanLogDensity(3.0))
    flow.fit(x, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = flowzoo.from_pretrained(tmp_path / "flow.keras")
    assert loaded.get_compile_config()["objective"]["config"] == {"factor": 3.0}
    assert [metric.name for metric in loaded.metrics] == ["loss", "mean_log_density", "largest"]


def test_a_flow_compiled_again_reports_the_new_metrics(x):
    flow = make(objective=MeanLogDensity())
    flow.fit(x, verbose=0)
    flow.compile()
    assert set(flow.fit(x, verbose=0).history) == {"loss", "nll"}


def test_mistakes_are_refused():
    with pytest.raises(
        ValueError, match=r"Unknown objective 'maximum_likelihod'.*Did you mean 'maximum_likelihood'"
    ):
        make(objective="maximum_likelihod")
    with pytest.raises(ValueError, match=r"must be a name or a flowzoo\.training\.Objective; got int"):
        make(objective=3)
    with pytest.raises(ValueError, match=r"pass objective=MaximumLikelihood\(noise=\.\.\.\)"):
        make(objective=MaximumLikelihood(), noise=0.1)
    with pytest.raises(ValueError, match="noise must be >= 0"):
        MaximumLikelihood(noise=-1.0)
