"""Models that the stand-in serves: each the newest version of a folder, loaded and run as TF Serving does.

What is wrong with a request is a `tf.errors.OpError`, with the code and the words of the real server;
REST and gRPC translate it.
"""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

PREDICT = "tensorflow/serving/predict"
DEFAULT_SIGNATURE = "serving_default"
_WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
# A tensor in a request may say that it is larger than it is: one value that stands for all.
_MOST_NUMBERS = 2**28


class Version:
    """One version of a model, loaded into a session of its own.

    The session is closed when the last request that holds the version lets go of it.

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
        """Runs a signature; returns the outputs by name, or those of them that are wanted."""
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
        """The signature as C++ has it: unlike `Session.run`, it compares no shapes in Python.

        Made at the first request, which is slow for it, as on the real server: TensorFlow optimises
        the graph. Warm-up requests are there to be the first.
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

        The real server runs them all, for the sake of its batch sizes; here that would only delay the start.
        """
        if not path.is_file():
            return
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            if (request.model_spec.signature_name or DEFAULT_SIGNATURE) not in self._functions:
                self.run(request.model_spec.signature_name, read_tensors(request))


class Status(NamedTuple):
    """State of a version; the error's code and message where it failed."""

    state: str
    code: int = 0
    message: str = ""


class Model:
    """The newest version in a folder that can be loaded.

    Args:
        name: What requests call it.
        directory: Holds the versions: 1, 2, ...

    Raises:
        ValueError: If no version can be loaded.
    """

    def __init__(self, name: str, directory: Path):
        self.name = name
        self.statuses: dict[int, Status] = {}
        self._directory = directory
        self._broken: dict[int, frozenset] = {}
        self._loaded: Version | None = None
        self.refresh()
        if self._loaded is None:
            reasons = "; ".join(f"{number}: {s.message}" for number, s in self.statuses.items())
            raise ValueError(f"No version in {directory} can be loaded. {reasons}")

    def refresh(self) -> bool:
        """Loads the newest version of the folder if it is another one; returns whether it did.

        The old one answers until then. A broken one is left alone until its files change.
        """
        for path in sorted(_versions(self._directory), key=lambda path: -int(path.name)):
            number = int(path.name)
            if self._loaded is not None and number == self._loaded.number:
                return False
            files = _fingerprint(path)
            if self._broken.get(number) == files:
                continue
            if self._load(path):
                return True
            self._broken[number] = files
        return False

    def _load(self, path: Path) -> bool:
        number = int(path.name)
        self.statuses[number] = Status("LOADING")
        try:
            version = Version(path)
        except Exception as error:  # noqa: BLE001 - whatever a broken folder raises, the server lives on.
            code = getattr(error, "error_code", tf.errors.UNKNOWN)
            self.statuses[number] = Status("END", code, str(error) or type(error).__name__)
            return False
        old, self._loaded = self._loaded, version
        self.statuses[number] = Status("AVAILABLE")
        if old is not None:
            self.statuses[old.number] = Status("END")
            del old
            gc.collect()  # A graph is full of cycles, and large.
        return True

    def find(self, version: int | None = None, label: str | None = None) -> Version:
        """The loaded version, if it is the one that is asked for."""
        if label:
            raise _error("InvalidArgument", f"Unrecognized servable version label: {label}")
        loaded = self._loaded
        assert loaded is not None, "the constructor loads one"
        if version is not None and version != loaded.number:
            message = f"Servable not found for request: Specific({self.name}, {version})"
            raise _error("NotFound", message)
        return loaded

    def status(self, version: int | None = None) -> dict[int, Status]:
        """The statuses of all versions that were seen, or of one."""
        if version is None:
            return dict(self.statuses)
        if version not in self.statuses:
            raise _error("NotFound", f"Could not find version {version} of model {self.name}")
        return {version: self.statuses[version]}


class Models:
    """All models of a folder: ``directory/1`` is one model's, ``directory/name/1`` is one of several.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, directory: Path):
        directory = directory.expanduser().resolve()
        if not directory.is_dir():
            raise ValueError(f"There is no directory {directory}.")
        folders = [directory] if _versions(directory) else sorted(filter(_versions, directory.iterdir()))
        if not folders:
            raise ValueError(
                f"{directory} holds no model: neither a version ({directory / '1'}) nor a model's folder "
                f"({directory / 'NAME' / '1'}). Write one with: flowzoo export MODEL {directory}"
            )
        self._models = {folder.name: Model(folder.name, folder) for folder in folders}

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
    return [path for path in directory.iterdir() if re.fullmatch("[0-9]+", path.name) and path.is_dir()]


def _fingerprint(path: Path) -> frozenset:
    stats = [(str(file), file.stat()) for file in path.rglob("*")]
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _error(kind: str, message: str) -> tf.errors.OpError:
    return getattr(tf.errors, f"{kind}Error")(None, None, message)
