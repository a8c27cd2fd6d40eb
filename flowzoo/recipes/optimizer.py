"""The optimizer and schedule of a recipe."""

from __future__ import annotations

import keras

from flowzoo.recipes.config import TrainingConfig

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
}


def make_optimizer(training: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for a training of this many steps."""
    options: dict = {"global_clipnorm": training.clip_norm}
    if training.ema is not None:
        options |= {"use_ema": True, "ema_momentum": training.ema}
    if training.optimizer == "adamw":
        options["weight_decay"] = training.weight_decay
    return _OPTIMIZERS[training.optimizer](_schedule(training, steps), **options)


def _schedule(training, steps):
    warmup = min(training.warmup_steps, steps - 1)
    if training.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else training.learning_rate,
            decay_steps=max(steps - warmup, 1),
            warmup_target=training.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if not warmup:
        return training.learning_rate
    return keras.optimizers.schedules.PolynomialDecay(
        training.learning_rate / warmup,
        decay_steps=warmup,
        end_learning_rate=training.learning_rate,
    )
