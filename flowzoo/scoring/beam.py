"""Score: scores rows in an Apache Beam pipeline with an exported SavedModel. Needs flowzoo[beam]."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import apache_beam as beam
    from apache_beam.ml.inference.base import ModelHandler, RunInference
    from apache_beam.pvalue import PCollection
except ImportError as error:
    raise ImportError("flowzoo.scoring.beam needs Apache Beam: pip install 'flowzoo[beam]'.") from error

from flowzoo.storage.versions import version_numbers
from flowzoo.utils.validation import check_context_presence, check_event_shape

# Rows per call. More gain nothing: at this size a call costs little compared with the rows.
_BATCH = 1024


class Score(beam.PTransform):
    """Pairs each element with its scores: ``(element, {"log_prob": nats, "valid": bool, ...})``.

    The scores are those of `Flow.score`, for images with ``bits_per_dim``. A row with missing or infinite
    values is not valid. Each worker process loads the model once, and needs TensorFlow but not Keras.

    Args:
        model_dir: Directory that `Flow.export` wrote: a model's base directory for its newest version, or the
            directory of one version. Every worker must see it: use a shared disk, or a URL that TensorFlow
            reads (``gs://``).
        columns: Columns of a row, in order, if elements are mappings (from `ReadFromParquet`, for example).
            By default, an element is a row: numbers of the flow's event shape.
        context_columns: Columns of the context, for mappings and a conditional flow. Without `columns`, the
            elements of a conditional flow are pairs (row, context).

    Example:
        >>> import tempfile, flowzoo
        >>> flow = flowzoo.create_model("realnvp", event_shape=(2,), steps=2)
        >>> path = flow.export(tempfile.mkdtemp())
        >>> rows = [{"id": 1, "a": 0.5, "b": 1.0}, {"id": 2, "a": 0.5, "b": None}]
        >>> with beam.Pipeline() as pipeline:
        ...     scored = pipeline | beam.Create(rows) | Score(path, ["a", "b"])
        ...     shown = scored | beam.Map(lambda pair: print(pair[0]["id"], pair[1]["valid"]))
        1 True
        2 False
    """

    def __init__(
        self,
        model_dir: str | os.PathLike,
        columns: Sequence[str] | None = None,
        context_columns: Sequence[str] | None = None,
    ):
        super().__init__()
        if context_columns is not None and columns is None:
            raise ValueError("context_columns needs mappings: name the columns of the row too, columns=.")
        self._handler = _Flow(
            os.fspath(model_dir),
            None if columns is None else list(columns),
            None if context_columns is None else list(context_columns),
        )

    def expand(self, rows: PCollection) -> PCollection:
        """The pairs of elements and scores."""
        return rows | RunInference(self._handler)


class _Flow(ModelHandler):
    """Loads and runs the model on a worker; before that, it holds only three plain values."""

    def __init__(self, model_dir: str, columns: list[str] | None, context_columns: list[str] | None):
        super().__init__()
        self._model_dir, self._columns, self._context_columns = model_dir, columns, context_columns

    def load_model(self) -> Any:
        """The model with its signature ``score``."""
        import tensorflow as tf

        return _Model(tf.saved_model.load(_version_directory(self._model_dir)))

    def run_inference(
        self, batch: Sequence[Any], model: _Model, inference_args: dict[str, Any] | None = None
    ) -> Iterable[tuple[Any, dict[str, Any]]]:
        """The pairs of elements and scores of a batch."""
        if self._columns is None:
            pairs = [element if model.is_conditional else (element, None) for element in batch]
            rows, contexts = [list(part) for part in zip(*pairs, strict=True)]
        else:
            rows = [_picked(element, self._columns) for element in batch]
            contexts = [_picked(element, self._context_columns or []) for element in batch]
        given = model.is_conditional if self._columns is None else self._context_columns is not None
        scores = model.score(rows, contexts if given else None)
        return [
            (element, {name: values[i] for name, values in scores.items()}) for i, element in enumerate(batch)
        ]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """The number of elements of a batch, for Beam."""
        return {"min_batch_size": 1, "max_batch_size": _BATCH}

    def get_metrics_namespace(self) -> str:
        """The namespace of Beam's counts and latencies."""
        return "flowzoo"


class _Model:
    """A loaded SavedModel.

    Args:
        loaded: Object that TensorFlow loaded.
    """

    def __init__(self, loaded: Any):
        self._loaded = loaded  # Kept, because the signature alone does not keep the weights alive.
        self._score = loaded.signatures["score"]
        self._specs = self._score.structured_input_signature[1]

    @property
    def is_conditional(self) -> bool:
        """Whether rows come with contexts."""
        return "context" in self._specs

    def score(self, rows: list, contexts: list | None) -> dict[str, list]:
        """Columns of scores, as Python numbers."""
        context_shape = tuple(self._specs["context"].shape[1:]) if self.is_conditional else None
        check_context_presence(contexts is not None, context_shape)
        inputs = {"x": self._tensor("x", rows)}
        if contexts is not None:
            inputs["context"] = self._tensor("context", contexts)
        return {name: values.numpy().tolist() for name, values in sorted(self._score(**inputs).items())}

    def _tensor(self, name: str, rows: list) -> Any:
        import tensorflow as tf

        spec = self._specs[name]
        # None, a missing value, becomes NaN here.
        array = np.asarray(rows, spec.dtype.as_numpy_dtype)
        check_event_shape(array.shape, tuple(spec.shape[1:]), name)
        return tf.constant(array)


def _picked(element: Mapping[str, Any], columns: Sequence[str]) -> list:
    try:
        return [element[column] for column in columns]
    except KeyError as error:
        raise ValueError(f"An element has no column {error}; it has {sorted(element)}.") from None


def _version_directory(model_dir: str) -> str:
    """The directory itself if it holds a SavedModel, else its newest version."""
    import tensorflow as tf

    exists = tf.io.gfile.exists
    if exists(os.path.join(model_dir, "saved_model.pb")):
        return model_dir
    names = tf.io.gfile.listdir(model_dir) if exists(model_dir) else []
    versions = version_numbers(names)
    if not versions:
        raise ValueError(f"{model_dir} holds no exported version: flow.export writes {model_dir}/1.")
    return os.path.join(model_dir, str(versions[-1]))
