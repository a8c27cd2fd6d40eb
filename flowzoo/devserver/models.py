"""Models that the stand-in serves: versions in a folder, loaded and run as TF Serving does.

A wrong request raises a `tf.errors.OpError` with the code and message of the real server; REST and gRPC
translate it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from flowzoo.devserver.config import folder_name, read_config
from flowzoo.storage.versions import version_directories

PREDICT = "tensorflow/serving/predict"
DEFAULT_SIGNATURE = "serving_default"
_WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
# A request may claim a huge tensor and send a single value that fills it.
_MOST_NUMBERS = 2**28


class Version:
    """One version of a model, loaded into its own session.

    The session is closed when the last request that holds the version releases it.

    Args:
        path: ``base_dir/<number>``.
    """

    def __init__(self, path: Path):
        self.number = int(path.name)
        v1 = tf.compat.v1
        self._session = v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        self.signatures = dict(loaded.signature_def)
        self._functions: dict[str, Callable] = {}
        self._making = threading.Lock()
        self._warm_up(path / _WARM_UP)

    def run(self, name: str, inputs: Mapping[str, np.ndarray], wanted: Sequence[str] = ()) -> dict:
        """Runs a signature; returns its outputs by name, all of them or those in `wanted`."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise _error("FailedPrecondition", f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        if signature.method_name != PREDICT:
            raise _error("Internal", f"Expected prediction signature; was: {signature.method_name!r}")
        _check_names(inputs, signature.inputs)
        outputs = sorted(signature.outputs)
        for key in wanted:
            if key not in outputs:
                raise _error("InvalidArgument", f"output tensor alias not found in signature: {key}")
        values = self._function(name)(*[inputs[key] for key in sorted(inputs)])
        return {key: v for key, v in zip(outputs, values, strict=True) if not wanted or key in wanted}

    def _function(self, name: str) -> Callable:
        """The signature as a C++ callable; unlike `Session.run`, it does not compare shapes in Python.

        The first request creates it. That request is slow, as on the real server, because TensorFlow
        optimizes the graph. Warm-up requests absorb this cost.
        """
        if name not in self._functions:
            with self._making:
                if name not in self._functions:
                    self._functions[name] = self._made(self.signatures[name])
        return self._functions[name]

    def _made(self, signature: Any) -> Callable:
        options = CallableOptions(
            feed=[signature.inputs[key].name for key in sorted(signature.inputs)],
            fetch=[signature.outputs[key].name for key in sorted(signature.outputs)],
        )
        return self._session._make_callable_from_options(options)

    def _warm_up(self, path: Path) -> None:
        """Runs the first warm-up request of each signature.

        The real server runs them all, to cover its batch sizes; here that would only delay the start.
        """
        if not path.is_file():
            return
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            if (request.model_spec.signature_name or DEFAULT_SIGNATURE) not in self._functions:
                self.run(request.model_spec.signature_name, read_tensors(request))


class Status(NamedTuple):
    """State of a version, with the error's code and message if it failed."""

    state: str
    code: int = 0
    message: str = ""


class Model:
    """A model's loaded versions: those that its configuration selects and that can be loaded.

    Args:
        config: Name, version policy (the newest one by default) and labels, as in ``models.config``.
        directory: Folder of the versions: 1, 2, ...

    Raises:
        ValueError: If no version can be loaded.
    """

    def __init__(self, config: ModelConfig, directory: Path):
        self.config = config
        self.statuses: dict[int, Status] = {}
        self._directory = directory
        self._broken: dict[int, frozenset] = {}
        # Replaced, never mutated: other threads read it.
        self._loaded: dict[int, Version] = {}
        self.refresh()
        if not self._loaded:
            reasons = [f"{number}: {status.message}" for number, status in self.statuses.items()]
            none = f"It holds none of the versions to serve; write one with: flowzoo export MODEL {directory}"
            raise ValueError(f"No version in {directory} can be loaded. {'; '.join(reasons) or none}")

    @property
    def name(self) -> str:
        """Name of the model in requests."""
        return self.config.name

    def refresh(self) -> bool:
        """Loads the selected versions and releases the others; returns whether any changed.

        The old versions answer until then. A broken version is skipped until its files change, and another
        is served instead.
        """
        before = self._loaded
        served = self._load_wanted()
        # If no selected version can be loaded, the old ones stay.
        for number in set(before) - served if served else ():
            self._loaded = {n: version for n, version in self._loaded.items() if n != number}
            self.statuses[number] = Status("END")
        changed = set(self._loaded) != set(before)
        if changed:
            del before
            gc.collect()  # Graphs are large and full of reference cycles.
        return changed

    def _load_wanted(self) -> set[int]:
        """Loads the selected versions that are not loaded yet; returns the numbers of all to serve."""
        policy = self.config.model_version_policy
        named = set(policy.specific.versions)
        most = math.inf if policy.HasField("all") or named else max(policy.latest.num_versions, 1)
        served: set[int] = set()
        for path in reversed(_versions(self._directory)):
            number = int(path.name)
            is_wanted = len(served) < most and (not named or number in named)
            if is_wanted and (number in self._loaded or self._load(path)):
                served.add(number)
        return served

    def _load(self, path: Path) -> bool:
        number, files = int(path.name), _fingerprint(path)
        if self._broken.get(number) == files:
            return False
        self.statuses[number] = Status("LOADING")
        try:
            version = Version(path)
        except Exception as error:  # noqa: BLE001 - the server survives any error of a broken folder.
            code = getattr(error, "error_code", tf.errors.UNKNOWN)
            self.statuses[number] = Status("END", code, str(error) or type(error).__name__)
            self._broken[number] = files
            return False
        self._loaded = {**self._loaded, number: version}
        self.statuses[number] = Status("AVAILABLE")
        return True

    def check_labels(self, config: ModelConfig) -> None:
        """Raises a ValueError if a label would move to a version that is not loaded."""
        for label, number in config.version_labels.items():
            if self.config.version_labels.get(label, number) != number and number not in self._loaded:
                raise ValueError(
                    f"Request to assign label to version {number} of model {self.name}, which is not "
                    "currently available for inference"
                )

    def find(self, version: int | None = None, label: str | None = None) -> Version:
        """The newest loaded version, or the requested one."""
        loaded = self._loaded
        if label:
            if label not in self.config.version_labels:
                raise _error("InvalidArgument", f"Unrecognized servable version label: {label}")
            version = self.config.version_labels[label]
        number = max(loaded) if version is None else version
        if number not in loaded:
            raise _error("NotFound", f"Servable not found for request: Specific({self.name}, {number})")
        return loaded[number]

    def status(self, version: int | None = None) -> dict[int, Status]:
        """The statuses of all versions seen so far, or of one."""
        if version is None:
            return dict(self.statuses)
        if version not in self.statuses:
            raise _error("NotFound", f"Could not find version {version} of model {self.name}")
        return {version: self.statuses[version]}


class Models:
    """All models of a folder: ``directory/1`` for a single model, ``directory/name/1`` for several.

    Args:
        directory: Folder of the models.
        config: A ``models.config`` of TF Serving, which selects models, versions and labels. It is read
            again when it changes. By default each model is served in its newest version.

    Raises:
        ValueError: If there is no model, or the configuration cannot be read.
    """

    def __init__(self, directory: Path, config: Path | None = None):
        self._directory = directory.expanduser().resolve()
        self._config = config
        self._content: bytes | None = None
        self._models: dict[str, Model] = {}
        if not self._directory.is_dir():
            raise ValueError(f"There is no directory {self._directory}.")
        if config is None:
            folders = _model_folders(self._directory)
            models = [Model(ModelConfig(name=folder.name), folder) for folder in folders]
            self._models = {model.name: model for model in models}
        elif not config.is_file():
            raise ValueError(f"There is no file {config}.")
        else:
            self._configure()

    def refresh(self) -> None:
        """Reads the configuration again if it has changed, and loads new versions."""
        if self._config is not None:
            try:
                self._configure()
            except (OSError, ValueError) as error:
                logging.getLogger(__name__).warning("Still serving the previous configuration: %s", error)
        for model in self:
            # A folder that changes while it is read is read again at the next poll.
            with contextlib.suppress(OSError):
                model.refresh()

    def _configure(self) -> None:
        """Applies a changed configuration, all of it or nothing."""
        assert self._config is not None
        content = self._config.read_bytes() if self._config.is_file() else b""
        if content == self._content:
            return
        self._content = content  # Set before parsing, so that an error is reported once.
        try:
            configs = read_config(content)
            for config in configs:
                if config.name in self._models:
                    self._models[config.name].check_labels(config)
            models = {
                config.name: self._kept(config) or Model(config, self._directory / folder_name(config))
                for config in configs
            }
        except ValueError as error:
            raise ValueError(f"{self._config}: {error}") from None
        for config in configs:
            models[config.name].config = config
        self._models = models

    def _kept(self, config: ModelConfig) -> Model | None:
        """The model already served under this name, unless its folder has changed."""
        model = self._models.get(config.name)
        return model if model is not None and folder_name(model.config) == folder_name(config) else None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Version:
        """The version that answers a request."""
        if name not in self._models:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise _error("NotFound", f"Servable not found for request: {asked}")
        return self._models[name].find(version, label)

    def status(self, name: str, version: int | None = None) -> dict[int, Status]:
        """The statuses of a model's versions."""
        if name not in self._models:
            raise _error("NotFound", f"Could not find any versions of model {name}")
        return self._models[name].status(version)


def _model_folders(directory: Path) -> list[Path]:
    """The folder itself if it holds versions, otherwise its subfolders that do."""
    folders = [directory] if _versions(directory) else sorted(filter(_versions, directory.iterdir()))
    if not folders:
        raise ValueError(
            f"{directory} holds no model: neither a version ({directory / '1'}) nor a model's folder "
            f"({directory / 'NAME' / '1'}). Write one with: flowzoo export MODEL {directory}"
        )
    return folders


def read_tensors(request: PredictRequest) -> dict[str, np.ndarray]:
    """The inputs of a request as arrays."""
    return {name: _read_tensor(name, tensor) for name, tensor in request.inputs.items()}


def _read_tensor(name: str, tensor: Any) -> np.ndarray:
    numbers = 1
    for dim in tensor.tensor_shape.dim:
        numbers *= dim.size
    if not 0 <= numbers <= _MOST_NUMBERS:
        raise _error("InvalidArgument", f"Tensor {name!r} has an impossible shape.")
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise _error("InvalidArgument", f"Tensor {name!r} cannot be read: {error}") from None


def _check_names(given: Mapping, wanted: Mapping) -> None:
    extra, missing = sorted(set(given) - set(wanted)), sorted(set(wanted) - set(given))
    if extra or missing:
        raise _error(
            "InvalidArgument",
            f"input size does not match signature: {len(given)}!={len(wanted)} "
            f"len({{{','.join(sorted(given))}}}) != len({{{','.join(sorted(wanted))}}}). "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}.",
        )


def _versions(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [path for path in version_directories(directory) if path.is_dir()]


def _fingerprint(path: Path) -> frozenset:
    stats = [(str(file), file.stat()) for file in path.rglob("*")]
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _error(kind: str, message: str) -> tf.errors.OpError:
    return getattr(tf.errors, f"{kind}Error")(None, None, message)
