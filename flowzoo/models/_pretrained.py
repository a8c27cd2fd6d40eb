"""from_pretrained: a flow from a preset, a registry or a `.keras` file."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowzoo.backend.imports import import_tensorflow
from flowzoo.models._factory import build_preset, preset_options
from flowzoo.models._sizes import check_sizes
from flowzoo.storage import presets
from flowzoo.storage.registry import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from flowzoo.flow import Flow


def from_pretrained(
    name_or_directory: str | os.PathLike, *, registry: str | os.PathLike | None = None
) -> Flow:
    """Loads a flow.

    A name is first looked for among the bundled presets, which need no network, then in the registry that
    the environment variable ``FLOWZOO_REGISTRY`` names. Files from a registry are kept in
    ``~/.cache/flowzoo`` (or where ``FLOWZOO_CACHE`` says) and checked each time.

    Args:
        name_or_directory: Name of a preset (see ``list_models(pretrained=True)``), URL of a preset, a
            directory that `Flow.save_to_preset` or `flowzoo fit` wrote, or a ``.keras`` file that `Flow.save`
            wrote.
        registry: URL (https://, gs://, s3://, file://) or directory that `flowzoo zoo publish` wrote to; the
            name is looked for there and nowhere else.

    Returns:
        The flow, with its weights, ready for `log_prob`, `sample`, `fit` and `export`.

    Raises:
        ValueError: If there is no such preset, or its files are damaged, of a newer format, or name classes
            outside flowzoo; the message names the file.
        OSError: If a registry cannot be read.

    Example:
        >>> import tempfile, flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), steps=2)
        >>> directory = tempfile.mkdtemp() + "/mine"
        >>> flow.save_to_preset(directory)
        >>> flowzoo.from_pretrained(directory).event_shape
        (2,)
    """
    path = presets.find_flow(name_or_directory, registry)
    if path.suffix == ".keras":
        return _load_keras(path)
    presets.check_bundled(path)
    config = presets.read_config(path)
    presets.check_digests(path)
    _refuse_foreign(config["options"], path / CONFIG)
    wrong = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
    try:
        options = preset_options(config)
    except wrong as error:
        raise ValueError(f"{path / CONFIG} does not describe a flow: {_reason(error)}") from error
    check_sizes(options, config["event_shape"], path / WEIGHTS)
    try:
        flow = build_preset(config)
        flow.columns = config.get("columns")
    except wrong as error:
        raise ValueError(f"{path / CONFIG} does not describe a flow: {_reason(error)}") from error
    try:
        flow.load_weights(path / WEIGHTS)
    except (*wrong, OSError, RuntimeError) as error:
        raise ValueError(f"{path / WEIGHTS} does not fit {path / CONFIG}: {_reason(error)}") from None
    _check_finite(flow, path / WEIGHTS)
    return flow


def _check_finite(flow: Flow, path: Path) -> None:
    """Refuses weights that hold NaN or infinity: every density would be wrong."""
    import numpy as np

    bad = [weight.path for weight in flow.weights if not np.isfinite(weight.numpy()).all()]
    if bad:
        raise ValueError(
            f"{path} holds NaN or infinity in {len(bad)} weights ({bad[0]} first): the file is damaged, or "
            "its training diverged. Use another one."
        )


def _load_keras(path: Path) -> Flow:
    import_tensorflow()
    import keras

    from flowzoo.flow import Flow

    try:
        flow = keras.saving.load_model(path)
    except (ValueError, TypeError, OSError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise ValueError(f"{path} cannot be loaded: {_reason(error)}") from error
    if not isinstance(flow, Flow):
        raise ValueError(f"{path} holds a {type(flow).__name__}, not a flow.")
    _check_finite(flow, path)
    return flow


def _reason(error: Exception) -> str:
    """The line that says what is wrong; Keras puts a model's whole configuration before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    causes = [line for line in lines if line.startswith("Exception encountered: ")]
    reason = causes[-1].removeprefix("Exception encountered: ") if causes else lines[0]
    return textwrap.shorten(reason, 300, placeholder=" ...")


def _refuse_foreign(value: Any, path: Path) -> None:
    """Refuses everything that Keras would turn into an object that is not flowzoo's: a preset is data."""
    if isinstance(value, dict):
        if "class_name" in value and not _is_ours(value):
            shown = ".".join(str(value[key]) for key in ("module", "class_name") if value.get(key))
            raise ValueError(f"{path} names {shown}, which is not part of flowzoo; refused.")
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        _refuse_foreign(part, path)


def _is_ours(value: dict) -> bool:
    import keras

    import flowzoo.flow  # noqa: F401  It registers every class of ours with Keras.

    if value.get("module") == "keras" and value["class_name"] == "DTypePolicy":
        return True
    registered = keras.saving.get_registered_object(str(value.get("registered_name")))
    return registered is not None and registered.__module__.startswith("flowzoo.")
