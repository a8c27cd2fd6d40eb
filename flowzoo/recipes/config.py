"""Recipes: the schema of zoo_configs/*.yaml. Needs no TensorFlow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from flowzoo.models._registry import find_entry, list_models
from flowzoo.utils.suggestions import did_you_mean
from flowzoo.utils.yaml_values import parse_yaml


def _not_a_switch(value: Any) -> Any:
    """Refuses true and false, which Python counts as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


_Count = Annotated[int, pydantic.BeforeValidator(_not_a_switch)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value


class ModelConfig(_Section):
    """The architecture and its options.

    Attributes:
        name: Registry name of the architecture.
        context_shape: Context shape of a conditional flow; null for none.
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
    """The data and their splits.

    Attributes:
        source: Name of a catalog data set, or path of a file.
        train: Split expression of the training rows.
        validation: Split expression of the rows that choose the best epoch; null for none.
        test: Split expression of the rows that the reported metrics come from.
        batch_size: Rows per step.
        columns: Columns of a file, or the key of an array in an .npz.
        missing: "error" rejects rows of a file with missing values, "drop" leaves them out, "mean" replaces a
            missing value with the column's mean over the training rows.
    """

    source: str
    train: str = "train"
    validation: str | None = "validation"
    test: str = "test"
    batch_size: _Count = pydantic.Field(512, gt=0)
    columns: list[str | int] | str | None = None
    missing: Literal["error", "drop", "mean"] = "error"


class TrainingConfig(_Section):
    """The training options.

    Attributes:
        epochs: Passes over the training rows.
        optimizer: "adam", "adamax" or "adamw".
        learning_rate: Highest learning rate of the schedule.
        schedule: "cosine" (decays to 0 at the end) or "constant".
        warmup_steps: Steps of linear warm-up to the learning rate.
        clip_norm: Upper bound of the global gradient norm; null for none.
        weight_decay: Weight decay of adamw.
        l2: Factor of the penalty on the conditioners' squared kernels, which is added to the loss.
        noise: Standard deviation of the Gaussian noise that is added to the standardised training rows at
            each step: 0.05 is a twentieth of a column's standard deviation.
        ema: Momentum of the moving average of the weights. The average is evaluated and saved. null for none.
        patience: Epochs without a better validation metric before training stops; null for none.
        jit_compile: "auto", true or false.
        precision: Precision of the networks during training: "mixed_bfloat16" is faster on processors that
            support it (GPUs since Ampere, CPUs with AMX). Weights, densities and preset stay float32.
        memory_efficient: Whether the gradient recomputes activations to save memory; see `Flow.compile`.
        checkpoint_seconds: Minimum time between two checkpoints, which are written at the ends of epochs. A
            killed run loses at most this time plus one epoch. 0 writes one after each epoch, as several
            workers always do.
    """

    epochs: _Count = pydantic.Field(20, gt=0)
    optimizer: Literal["adam", "adamax", "adamw"] = "adam"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: _Count = pydantic.Field(0, ge=0)
    clip_norm: float | None = pydantic.Field(None, gt=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    l2: float = pydantic.Field(0.0, ge=0)
    noise: float = pydantic.Field(0.0, ge=0)
    ema: float | None = pydantic.Field(None, gt=0, lt=1)
    patience: _Count | None = pydantic.Field(None, gt=0)
    jit_compile: Literal["auto"] | bool = "auto"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    memory_efficient: bool = False
    checkpoint_seconds: float = pydantic.Field(10.0, ge=0)

    @pydantic.field_validator("weight_decay")
    @classmethod
    def _of_adamw(cls, value: float, info: pydantic.ValidationInfo) -> float:
        if value and info.data.get("optimizer") != "adamw":
            raise ValueError("weight_decay needs optimizer: adamw; with others, use l2")
        return value


class CardConfig(_Section):
    """What a model card says in addition to the measurements; training does not use it.

    Attributes:
        licence: Licence of a file's data; the catalog knows the licences of its data sets.
        data_url: URL of a file's data.
        published: Published test metric of this architecture on these data: bits/dim for images, else mean
            negative log-likelihood in nats.
        published_source: Source of the published metric.
        limits: Limits that a user must know.
    """

    licence: str = ""
    data_url: str = ""
    published: float | None = None
    published_source: str = ""
    limits: str = ""


class ZooConfig(_Section):
    """A recipe: what `flowzoo train` runs.

    Attributes:
        name: Name of the preset.
        description: One sentence.
        seed: Seed of the weights, of dropout, of noise and of the order of the rows.
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

    @pydantic.field_validator("name")
    @classmethod
    def _names_a_directory(cls, value: str) -> str:
        if not re.fullmatch(r"\w[\w.-]{0,99}", value):
            raise ValueError("a name is letters, digits, _, - and ., and begins with a letter or digit")
        return value

    @pydantic.model_validator(mode="after")
    def _one_precision(self) -> ZooConfig:
        if self.training.precision != "float32" and "dtype" in self.model.options:
            raise ValueError("training.precision and model.options.dtype exclude each other: leave one out")
        return self

    def trains_as(self, other: ZooConfig) -> bool:
        """Whether two recipes give the same result; description, card and checkpoint_seconds may differ."""
        other_things: Any = {"description": True, "card": True, "training": {"checkpoint_seconds"}}
        mine, theirs = (config.model_dump(mode="json", exclude=other_things) for config in (self, other))
        return mine == theirs


def load_config(path: str | os.PathLike, overrides: list[str] | tuple[str, ...] = ()) -> ZooConfig:
    """Reads and checks a recipe.

    Args:
        path: A YAML file.
        overrides: Strings such as ``"training.epochs=5"``: a dotted key and a YAML value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If YAML, keys or values are wrong; the message for an unknown key names the closest one.
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
    """The recipe as YAML, with every default written out."""
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
    """Formats a pydantic error as one line."""
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
