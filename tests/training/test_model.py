"""Keras's methods of a flow: compile, fit, evaluate, predict, callbacks, saving during training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow
from flowzoo.conditioners import MLP
from flowzoo.layers import ActNorm, AffineCoupling, Dequantize, Logit, Standardize
from flowzoo.testing import perturb


def make(context=None, event=(2,), **options):
    """A flow of one coupling, compiled to run eagerly, which is fastest for a few small steps."""
    keras.utils.set_random_seed(0)
    layers = [ActNorm(), AffineCoupling(MLP((4,)))]
    flow = Flow(layers, event, context, preprocessing=[Standardize()])
    flow.compile(keras.optimizers.Adam(0.05), run_eagerly=True, **options)
    return flow


def make_image_flow():
    flow = Flow([ActNorm()], (4, 4, 1), preprocessing=[Dequantize(), Logit()])
    flow.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return flow


@pytest.fixture
def x(rng):
    first = rng.normal(3.0, 2.0, (64, 1))
    return np.concatenate([first, np.sin(first) + rng.normal(0, 0.2, (64, 1))], axis=1).astype(np.float32)


@pytest.fixture
def context(rng):
    return rng.normal(size=(64, 3)).astype(np.float32)


def batches(*arrays, size=16):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(size)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 4

    def __getitem__(self, i):
        parts = tuple(array[16 * i : 16 * (i + 1)] for array in self.arrays)
        return parts if len(parts) > 1 else parts[0]


def assert_same_weights(flow, wanted):
    for one, other in zip(flow.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


# -- compile ---------------------------------------------------------------------------------
def test_compile_needs_no_arguments():
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
    flow.compile()
    assert isinstance(flow.optimizer, keras.optimizers.Adam)
    assert flow.optimizer.global_clipnorm == 5.0
    assert flow.jit_compile is True
    image = make_image_flow()
    image.compile()
    assert (image.optimizer.global_clipnorm, image.jit_compile) == (1.0, image.use_xla)


def test_compile_takes_an_optimizer_by_name_and_no_loss():
    flow = make()
    flow.compile("sgd", jit_compile=False)
    assert isinstance(flow.optimizer, keras.optimizers.SGD)
    assert flow.jit_compile is False
    with pytest.raises(ValueError, match="objective; leave loss out"):
        flow.compile(loss="mse")


def test_running_eagerly_turns_xla_off_without_a_warning(recwarn):
    flow = make()
    assert flow.jit_compile is False
    assert not [warning for warning in recwarn if "jit_compile" in str(warning.message)]


# -- fit -------------------------------------------------------------------------------------
@pytest.mark.parametrize("jit_compile", [True, False])
def test_fit_improves_the_likelihood(x, jit_compile):
    flow = make()
    flow.compile(keras.optimizers.Adam(0.05), jit_compile=jit_compile)
    history = flow.fit(x, epochs=30, batch_size=32, verbose=0).history
    assert history["nll"][-1] < history["nll"][0] - 0.3
    np.testing.assert_allclose(-np.mean(flow.log_prob(x)), history["nll"][-1], atol=0.1)


def test_fit_needs_no_compile_and_no_adapt(x):
    flow = Flow([ActNorm()], (2,), preprocessing=[Standardize()])
    history = flow.fit(x, verbose=0)
    assert flow.compiled
    assert float(flow.adapted.numpy()) == 1.0
    assert list(history.history) == ["loss", "nll"]


def test_the_loss_for_vectors_is_nats_per_row(x):
    history = make().fit(x, verbose=0).history
    assert history["loss"] == pytest.approx(history["nll"])


def test_the_loss_for_images_is_bits_per_dim(rng):
    images = rng.integers(0, 256, (16, 4, 4, 1))
    history = make_image_flow().fit(images, verbose=0).history
    assert set(history) == {"loss", "nll", "bits_per_dim"}
    assert history["loss"] == pytest.approx(history["bits_per_dim"])
    assert history["nll"][0] == pytest.approx(history["bits_per_dim"][0] * 16 * np.log(2), rel=1e-5)


@pytest.mark.parametrize("wrap", [lambda x: x, batches, Batches])
def test_fit_takes_arrays_datasets_and_pydatasets(x, wrap):
    flow = make()
    given = wrap(x)
    flow.fit(given, epochs=2, verbose=0, **({"batch_size": 16} if given is x else {}))
    assert int(flow.optimizer.iterations.numpy()) == 8


@pytest.mark.parametrize("wrap", [lambda *pair: pair, lambda *p: (batches(*p),), lambda *p: (Batches(*p),)])
def test_fit_takes_pairs_of_x_and_context(x, context, wrap):
    flow = make(context=(3,))
    before = flow.transforms[1].conditioner.context_layer.get_weights()[0]
    flow.fit(*wrap(x, context), epochs=3, verbose=0)
    after = flow.transforms[1].conditioner.context_layer.get_weights()[0]
    assert np.all(before != after)


def test_fit_takes_integers(rng):
    flow = Flow([ActNorm()], (2,), preprocessing=[Dequantize([1.0, 0.5]), Standardize()])
    flow.compile(run_eagerly=True)
    history = flow.fit(rng.integers(0, 9, (64, 2)), verbose=0).history
    assert np.isfinite(history["nll"]).all()


def test_fit_takes_an_endless_dataset_with_its_number_of_steps(x):
    flow = make()
    flow.fit(batches(x).repeat(), steps_per_epoch=3, epochs=2, verbose=0)
    assert int(flow.optimizer.iterations.numpy()) == 6


def test_compiled_loops_keep_the_requested_numbers_of_steps(x):
    """An execution has many steps, and Keras counts executions."""
    flow = make()
    flow.compile(keras.optimizers.Adam(1e-3))
    flow.fit(batches(x, size=16).repeat(), steps_per_epoch=6, epochs=2, verbose=0)
    assert flow.steps_per_execution == 6
    assert int(flow.optimizer.iterations.numpy()) == 12
    flow.fit(x, batch_size=4, steps_per_epoch=6, validation_data=(x,), validation_steps=1, verbose=0)
    assert int(flow.optimizer.iterations.numpy()) == 18
    flow.evaluate(batches(x, size=16).repeat(), steps=3, verbose=0)
    assert flow.steps_per_execution == 3


def test_rows_of_later_epochs_are_checked_too(x):
    x[40, 1] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinity in 1 of 64 rows"):
        make().fit(batches(x, size=16), steps_per_epoch=1, epochs=4, verbose=0)


def test_a_last_batch_of_another_size_is_accepted(x):
    flow = make()
    flow.compile(jit_compile=False)
    history = flow.fit(batches(x, size=20), verbose=0, validation_data=batches(x, size=50)).history
    assert np.isfinite([history["nll"], history["val_nll"]]).all()


def test_metrics_are_means_over_rows_not_over_batches(x):
    flow = make()
    flow.adapt(x)
    flow.optimizer.learning_rate = 0.0
    history = flow.fit(batches(x, size=60), verbose=0, shuffle=False).history
    wanted = pytest.approx(-np.mean(flow.log_prob(x)), rel=1e-5)
    assert history["nll"][0] == history["loss"][0] == wanted


def test_validation_data_and_callbacks_work_as_in_keras(x, tmp_path):
    flow = make()
    epochs = []
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(logs)),
        keras.callbacks.EarlyStopping("val_nll", patience=1, min_delta=100.0, mode="min"),
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / "best.keras"), "val_nll", save_best_only=True, mode="min"
        ),
    ]
    history = flow.fit(x, epochs=10, validation_data=(x,), callbacks=callbacks, verbose=0)
    assert len(history.epoch) == len(epochs) == 2
    assert set(epochs[0]) == {"loss", "nll", "val_loss", "val_nll"}
    assert (tmp_path / "best.keras").is_file()


def test_validation_split_works_as_in_keras(x):
    assert "val_nll" in make().fit(x, validation_split=0.25, verbose=0).history


@pytest.mark.parametrize("conditional", [False, True])
def test_sample_weights_weigh_the_rows(x, context, conditional):
    """Rows of weight zero do not count: training on half of the rows is the same."""
    weight = np.concatenate([np.ones(32), np.zeros(32)]).astype(np.float32)
    whole, half = (make(context=(3,) if conditional else None) for _ in range(2))
    context = context if conditional else None
    whole.adapt(x, context)
    half.set_weights(whole.get_weights())
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    weighted = whole.fit(x, context, sample_weight=weight, batch_size=64, **options).history
    plain = half.fit(x[:32], None if context is None else context[:32], batch_size=32, **options).history
    np.testing.assert_allclose(weighted["nll"], plain["nll"], rtol=1e-5)
    for one, other in zip(whole.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_regularization_losses_are_added(x):
    penalized, plain = make(), make()
    penalized.transforms[1].conditioner.last.kernel.regularizer = keras.regularizers.L2(1.0)
    for flow in (penalized, plain):
        flow.adapt(x)
        flow.transforms[1].conditioner.last.kernel.assign(tf.ones([4, 2]))
    loss, nll = penalized.evaluate(x, verbose=0)
    assert loss == pytest.approx(nll + 8.0, rel=1e-4)
    assert nll == pytest.approx(plain.evaluate(x, verbose=0)[1], rel=1e-6)


def test_dequantization_noise_is_new_at_every_step_and_frozen_in_evaluation(rng):
    flow = make_image_flow()
    images = rng.integers(0, 256, (8, 4, 4, 1))
    flow.adapt(images)
    flow.optimizer.learning_rate = 0.0
    losses = [flow.fit(images, verbose=0).history["nll"][0] for _ in range(2)]
    assert losses[0] != losses[1]
    assert flow.evaluate(images, verbose=0) == flow.evaluate(images, verbose=0)


# -- evaluate and predict --------------------------------------------------------------------
def test_evaluate_gives_the_mean_of_log_prob(x):
    flow = make()
    perturb(flow, 0.2)
    result = flow.evaluate(x, verbose=0, return_dict=True)
    assert result["nll"] == pytest.approx(-np.mean(flow.log_prob(x)), rel=1e-5)


def test_evaluate_needs_no_compile(x):
    flow = Flow([ActNorm()], (2,))
    assert np.isfinite(flow.evaluate(x, verbose=0)).all()


@pytest.mark.parametrize("wrap", [lambda x: x, batches, Batches])
def test_predict_gives_log_densities(x, wrap):
    flow = make()
    perturb(flow, 0.2)
    np.testing.assert_allclose(flow.predict(wrap(x), verbose=0), flow.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda *pair: pair,
        list,
        lambda *pair: [*pair],
        batches,
        Batches,
        lambda x, c: tf.data.Dataset.from_tensor_slices(((x, c),)).batch(16),
    ],
)
def test_predict_takes_pairs_of_x_and_context(x, context, wrap):
    flow = make(context=(3,))
    perturb(flow, 0.2)
    given = [x, context] if wrap is list else wrap(x, context)
    np.testing.assert_allclose(flow.predict(given, verbose=0), flow.log_prob(x, context), rtol=1e-5)


# -- saving ----------------------------------------------------------------------------------
def test_training_goes_on_after_loading_as_if_it_had_not_stopped(x, tmp_path, recwarn):
    flow = make()
    flow.fit(x, epochs=2, batch_size=16, shuffle=False, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    assert not [warning for warning in recwarn if "compile" in str(warning.message)]
    assert loaded.compiled
    assert int(loaded.optimizer.iterations.numpy()) == 8
    loaded.run_eagerly = True
    one = flow.fit(x, epochs=2, batch_size=16, shuffle=False, verbose=0).history
    other = loaded.fit(x, epochs=2, batch_size=16, shuffle=False, verbose=0).history
    np.testing.assert_allclose(other["nll"], one["nll"], rtol=1e-6)
    for mine, theirs in zip(loaded.get_weights(), flow.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_a_learning_rate_schedule_survives_loading(x, tmp_path):
    flow = make()
    flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 100)), run_eagerly=True)
    flow.fit(x, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    assert float(loaded.optimizer.learning_rate) == float(flow.optimizer.learning_rate)


def test_a_flow_that_was_never_compiled_is_loaded_uncompiled(tmp_path):
    Flow([ActNorm()], (2,)).save(tmp_path / "flow.keras")
    assert not keras.saving.load_model(tmp_path / "flow.keras").compiled


def test_weights_survive_their_own_file(x, tmp_path):
    flow, other = make(), make()
    flow.fit(x, verbose=0)
    flow.save_weights(tmp_path / "flow.weights.h5")
    other.load_weights(tmp_path / "flow.weights.h5")
    assert_same_weights(other, flow.get_weights())
