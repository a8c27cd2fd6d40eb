import keras
import numpy as np
import pytest

from flowzoo.recipes.config import TrainingConfig
from flowzoo.recipes.optimizer import make_optimizer


def rates(steps, *at, **options):
    optimizer = make_optimizer(TrainingConfig(learning_rate=0.1, **options), steps)
    schedule = optimizer._learning_rate
    if not callable(schedule):
        return [float(schedule.numpy())] * len(at)
    return [float(schedule(step)) for step in at]


def test_cosine_ends_at_zero():
    np.testing.assert_allclose(rates(100, 0, 50, 100, schedule="cosine"), [0.1, 0.05, 0.0], atol=1e-6)


def test_cosine_starts_after_its_warmup():
    got = rates(100, 0, 5, 10, 55, 100, schedule="cosine", warmup_steps=10)
    np.testing.assert_allclose(got, [0.0, 0.05, 0.1, 0.05, 0.0], atol=1e-3)


def test_constant_keeps_the_learning_rate():
    assert rates(100, 0, 99, schedule="constant") == pytest.approx([0.1, 0.1])


def test_constant_may_warm_up():
    got = rates(100, 0, 5, 10, 99, schedule="constant", warmup_steps=10)
    np.testing.assert_allclose(got, [0.01, 0.055, 0.1, 0.1], atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_warmup_longer_than_the_training_is_cut(schedule):
    assert np.isfinite(rates(3, 0, 1, 2, 3, schedule=schedule, warmup_steps=1000)).all()


@pytest.mark.parametrize("name", ["adam", "adamax", "adamw"])
def test_the_options_reach_the_optimizer(name):
    decay = 0.01 if name == "adamw" else 0.0
    config = TrainingConfig(optimizer=name, clip_norm=2.0, ema=0.9, weight_decay=decay)
    optimizer = make_optimizer(config, 10)
    assert isinstance(optimizer, {"adam": keras.optimizers.Adam}.get(name, keras.optimizers.Optimizer))
    assert type(optimizer).__name__.lower() == name
    assert (optimizer.global_clipnorm, optimizer.use_ema, optimizer.ema_momentum) == (2.0, True, 0.9)
    assert optimizer.weight_decay == (0.01 if name == "adamw" else None)
