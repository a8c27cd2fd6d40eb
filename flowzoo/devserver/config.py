"""Reads models.config: the models and versions that TF Serving serves, and the versions' labels."""

from __future__ import annotations

from pathlib import PurePosixPath

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig


def read_config(text: bytes) -> list[ModelConfig]:
    """Reads the models of a text proto ``tensorflow.serving.ModelServerConfig``.

    Raises:
        ValueError: If the text is not such a proto, lists no model, or lists one twice.
    """
    try:
        models = list(text_format.Parse(text, ModelServerConfig()).model_config_list.config)
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(f"not a text proto tensorflow.serving.ModelServerConfig: {error}.") from None
    if not models:
        raise ValueError("no models; add model_config_list { config { name: ... base_path: ... } }.")
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one config is named {', '.join(twice)}; names must be unique.")
    return models


def folder_name(model: ModelConfig) -> str:
    """Last component of the base path: the folder's name, wherever the real server keeps it."""
    return PurePosixPath(model.base_path).name
