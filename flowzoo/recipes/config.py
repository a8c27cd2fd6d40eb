"""The schema of zoo_configs/*.yaml: a preset's whole recipe. Needs no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from flowzoo.models._registry import find_entry, list_models
from flowzoo.utils.suggestions import did_you_mean
from flowzoo.utils.yaml_values import parse_yaml


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value


class ModelConfig(_Section):
    """Which architecture, with which options.

    Attributes:
        name: Registry name.
        context_shape: Of conditional flows.
        options: Keyword arguments of `flowzoo.create_model`.
    """

    name: str
    context_shape: list[int] | None = None
    options: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _upgrade(self) -> ModelConfig:
        """Replaces the option names of earlier versions, so that old recipes and runs stay valid."""
        if self.name in list_models():
            entry = find_entry(self.name)
            if entry.upgrade is not None:
                upgraded = entry.upgrade(dict(self.options), None)
                self.options.clear()
                self.options.update(upgraded)
        return self


class DataConfig(_Section):
    """Which data, cut how.

    Attributes:
        source: A name of the catalog, or the path of a file.
        train: Split expression of the training rows.
        validation: Of the rows that choose the best epoch; None for none.
        test: Of the rows that the reported metrics come from.
        batch_size: Rows a step.
        columns: Columns of a file, or the key of an array in an .npz.
        missing: "error" refuses rows of a file with missing values, "drop" leaves them out, "mean" puts the
            mean of the column's values in the training rows.
    """

    source: str
    train: str = "train"
    validation: str | None = "validation"
    test: str = "test"
    batch_size: int = pydantic.Field(512, gt=0)
    columns: list[str | int] | str | None = None
    missing: Literal["error", "drop", "mean"] = "error"


class TrainingConfig(_Section):
    """How to train.

    Attributes:
        epochs: Passes over the training rows.
        optimizer: "adam", "adamax" or "adamw".
        learning_rate: The highest one.
        schedule: "cosine" (to 0 at the end) or "constant".
        warmup_steps: Steps of linear growth to the learning rate.
        clip_norm: Bound of the global gradient norm; null for none.
        weight_decay: Of adamw.
        l2: Factor of the squares of the conditioners' kernels that are added to the loss.
        noise: Standard deviation of the Gaussian noise that moves each training row, anew at each step, where
            the columns are standardised: 0.05 is a twentieth of a column's own deviation.
        ema: Momentum of the moving average of the weights that is evaluated and kept; null for none.
        patience: Epochs without a better validation metric before training stops; null for none.
        jit_compile: "auto", true or false.
        precision: What the networks compute in while they train: "mixed_bfloat16" is faster on processors
            that have it (GPUs since Ampere, CPUs with AMX). Weights, densities and preset are float32.
        memory_efficient: Whether activations are computed again for the gradient; see `Flow.compile`.
        checkpoint_seconds: The least time between two checkpoints, which are written at ends of epochs: a
            kill loses as much, and the epoch. 0 for one after each epoch, as several workers always do.
    """

    epochs: int = pydantic.Field(20, gt=0)
    optimizer: Literal["adam", "adamax", "adamw"] = "adam"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = pydantic.Field(0, ge=0)
    clip_norm: float | None = pydantic.Field(None, gt=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    l2: float = pydantic.Field(0.0, ge=0)
    noise: float = pydantic.Field(0.0, ge=0)
    ema: float | None = pydantic.Field(None, gt=0, lt=1)
    patience: int | None = pydantic.Field(None, gt=0)
    jit_compile: Literal["auto"] | bool = "auto"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    memory_efficient: bool = False
    checkpoint_seconds: float = pydantic.Field(10.0, ge=0)

    @pydantic.field_validator("weight_decay")
    @classmethod
    def _of_adamw(cls, value: float, info: pydantic.ValidationInfo) -> float:
        if value and info.data.get("optimizer") != "adamw":
            raise ValueError("only optimizer: adamw decays weights; for others take l2")
        return value


class CardConfig(_Section):
    """What a model card says beside what is measured; training needs none of it.

    Attributes:
        licence: Of a file's data; the catalog knows those of its data sets.
        data_url: Where a file's data come from.
        published: The test metric that was published for this architecture and data: bits/dim of images, else
            mean negative log-likelihood in nats.
        published_source: Where.
        limits: What to know before use.
    """

    licence: str = ""
    data_url: str = ""
    published: float | None = None
    published_source: str = ""
    limits: str = ""


class ZooConfig(_Section):
    """A recipe: what `flowzoo train` runs.

    Attributes:
        name: Of the preset.
        description: One sentence.
        seed: Of the weights, dropout, noise, and the order of the rows.
        model: See `ModelConfig`.
        data: See `DataConfig`.
        training: See `TrainingConfig`.
        card: See `CardConfig`.
    """

    name: str
    description: str = ""
    seed: int = 0
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()
    card: CardConfig = CardConfig()

    @pydantic.model_validator(mode="after")
    def _one_precision(self) -> ZooConfig:
        if self.training.precision != "float32" and "dtype" in self.model.options:
            raise ValueError("training.precision and model.options.dtype exclude each other: leave one out")
        return self

    def trains_as(self, other: ZooConfig) -> bool:
        """Whether a run of one is a run of the other: all that shapes its result is the same."""
        other_things: Any = {"description": True, "card": True, "training": {"checkpoint_seconds"}}
        mine, theirs = (config.model_dump(mode="json", exclude=other_things) for config in (self, other))
        return mine == theirs


def load_config(path: str | os.PathLike, overrides: list[str] | tuple[str, ...] = ()) -> ZooConfig:
    """Reads and checks a recipe.

    Args:
        path: A YAML file.
        overrides: ``"training.epochs=5"``: dotted key, YAML value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: On wrong YAML, keys or values; a wrong key's message names the nearest right one.
    """
    content = parse_yaml(Path(path).read_text(), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping with name, model, data and training.")
    for override in overrides:
        _apply(content, override)
    try:
        return ZooConfig.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(f"{path}: {_explain(error.errors()[0])}") from None


def dump_config(config: ZooConfig) -> str:
    """The recipe as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _apply(content: dict, override: str) -> None:
    dotted, separator, value = override.partition("=")
    if not separator:
        raise ValueError(f"An override looks like training.epochs=5; got {override!r}.")
    *sections, key = dotted.split(".")
    for section in sections:
        if content.get(section) is None:
            content[section] = {}
        content = content[section]
        if not isinstance(content, dict):
            raise ValueError(f"{override!r}: {section!r} holds a value, not keys.")
    content[key] = parse_yaml(value, f"The value of {dotted}")


def _explain(error: Any) -> str:
    """One line for pydantic's first complaint."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = ZooConfig
        for part in error["loc"][:-1]:
            section = section.model_fields[part].annotation
        return f"unknown key {where!r}. {did_you_mean(str(error['loc'][-1]), list(section.model_fields))}"
    if error["type"] == "missing":
        return f"the key {where!r} is missing."
    if not where:
        return f"{error['msg']}."
    return f"{where!r}: {error['msg']}; got {error['input']!r}."
