"""Reader of TFRecord files of tf.train.Example: numbers, or encoded images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from flowzoo.data.formats.columns import Columns, as_list
from flowzoo.data.formats.packed import Span, float_spans, packed_chunks
from flowzoo.data.source import Chunk, Source
from flowzoo.utils.messages import Argument, Message
from flowzoo.utils.suggestions import did_you_mean


def read_tfrecord(path: Path, columns: Columns, labels: bool | str) -> Source:
    """Reads a file of `tf.train.Example` records (gzipped if its name ends in .gz).

    The row is the feature called "x", or the only feature apart from the labels. A feature of floats
    or integers is a vector, of the same length in each record; a feature of bytes is one PNG, JPEG,
    GIF or BMP image, of the same size in each record.

    Args:
        path: The file.
        columns: Names of the features to read; several features of numbers are concatenated.
        labels: Name of the feature that holds the label, one integer; True means "label".

    Returns:
        The source, which reads the file again for each pass.

    Raises:
        ValueError: If the records are damaged, or do not have the layout described above.
    """
    compression = "GZIP" if path.name.lower().endswith(".gz") else ""
    records = tf.data.TFRecordDataset(str(path), compression)
    example = _first_record(path, records)
    features = _features(path, example)
    label = "label" if labels is True else labels or None
    names = _feature_names(features, as_list(columns), label, str(path))
    spec = {name: _spec(features[name]) for name in names}
    if label is not None:
        spec[label] = tf.io.FixedLenFeature([], tf.int64)

    @tf.autograph.experimental.do_not_convert
    def parse(serialized: Any) -> tuple[Any, ...]:
        example = tf.io.parse_example(serialized, spec)
        rows = _rows([example[name] for name in names])
        return (rows,) if label is None else (rows, example[label])

    spans = _spans(example, [features[name] for name in names]) if label is None else None

    def chunks(rng: np.random.Generator | None) -> Iterator[Chunk]:
        done: int | None = 0
        if spans is not None:
            done = yield from packed_chunks(path, example, spans, source.chunk_rows)
        if done is None:
            return
        batches, rest = records.skip(done).batch(min(source.chunk_rows, 1024)), 0
        try:
            for arrays in batches.map(parse, tf.data.AUTOTUNE).prefetch(2).as_numpy_iterator():
                rest += len(arrays[0])
                yield arrays[0], arrays[1] if label is not None else None
        except tf.errors.OpError as error:
            raise _damaged(path, error.message) from error
        if not rest:  # TensorFlow takes an incomplete record header for the end of the file.
            raise _damaged(path, "its last record is incomplete")

    try:
        first = parse(next(iter(records.batch(1))))[0]
    except tf.errors.OpError as error:
        raise _damaged(path, error.message) from error
    source = Source(
        event_shape=tuple(first.shape[1:]),
        dtype=np.dtype(first.dtype.as_numpy_dtype),
        chunks=chunks,
        labelled=label is not None,
        columns=() if _is_image(features[names[0]]) else _entry_names(names, features),
    )
    return source


def _first_record(path: Path, records: Any) -> bytes:
    try:
        serialized: bytes = next(iter(records)).numpy()
    except StopIteration:
        raise ValueError(f"{path} is empty.") from None
    except tf.errors.OpError as error:
        raise _damaged(path, error.message) from error
    return serialized


def _features(path: Path, serialized: bytes) -> dict[str, Any]:
    """The features of an example."""
    try:
        return dict(tf.train.Example.FromString(serialized).features.feature)
    except DecodeError as error:
        raise ValueError(f"{path}: its records are not tf.train.Example messages ({error}).") from error


def _feature_names(
    features: dict[str, Any], wanted: list[str | int] | None, label: str | None, name: str
) -> list[str]:
    """Names of the features that form the row: the requested ones, or "x", or the only one."""
    there = sorted(features)
    for feature in [*(wanted or []), *([] if label is None else [label])]:
        if feature not in features:
            raise ValueError(f"{name} has no feature {feature!r}. {did_you_mean(str(feature), there)}")
    rest = [feature for feature in there if feature not in (label, "label")]
    names = [str(w) for w in wanted or []] or (["x"] if "x" in features else rest)
    if not names or (wanted is None and len(names) > 1):
        raise ValueError(
            Message(
                "{name}: choose the features that form the row with {one} or {several}. "
                "The features of the file: {there}.",
                name=name,
                there=", ".join(map(repr, there)) or "none",
                one=Argument("columns", "feature"),
                several=Argument("columns", ["a", "b"]),
            )
        )
    if any(_size(features[feature]) == 0 for feature in names):
        raise ValueError(f"{name}: a feature of {names} is empty in the first record.")
    if len(names) > 1 and any(_is_image(features[feature]) for feature in names):
        raise ValueError(f"{name}: some of {names} are images; an image must be the only column.")
    return names


def _spans(example: bytes, features: list[Any]) -> list[Span] | None:
    """Byte ranges of the values; None unless all are floats and their positions are unambiguous."""
    if any(feature.WhichOneof("kind") != "float_list" for feature in features):
        return None
    return float_spans(example, [feature.float_list.value for feature in features])


def _spec(feature: Any) -> Any:
    """How to parse a feature: each record must have as many values as the first."""
    if _is_image(feature):
        return tf.io.FixedLenFeature([], tf.string)
    dtype = tf.float32 if feature.WhichOneof("kind") == "float_list" else tf.int64
    return tf.io.FixedLenFeature([_size(feature)], dtype)


def _is_image(feature: Any) -> bool:
    return bool(feature.WhichOneof("kind") == "bytes_list")


def _size(feature: Any) -> int:
    kind = feature.WhichOneof("kind")
    return 0 if kind is None else len(getattr(feature, kind).value)


def _rows(values: list[Any]) -> Any:
    """Decoded images, or concatenated vectors."""
    if values[0].dtype == tf.string:
        return tf.map_fn(_decoded, values[0], fn_output_signature=tf.uint8)
    return tf.concat([tf.cast(value, tf.float32) for value in values], axis=-1)


def _decoded(image: Any) -> Any:
    return tf.io.decode_image(image, expand_animations=False)


def _entry_names(names: list[str], features: dict[str, Any]) -> tuple[str, ...]:
    sizes = {name: _size(features[name]) for name in names}
    return tuple(name if sizes[name] == 1 else f"{name}[{i}]" for name in names for i in range(sizes[name]))


def _damaged(path: Path, message: str) -> ValueError:
    first_line = message.split("\n")[0].split("[Op:")[0].strip()
    return ValueError(
        f"{path} cannot be read: {first_line}. It must be a complete TFRecord file whose records "
        "all have the same features: vectors of one length, or images (PNG, JPEG, GIF, BMP) of one "
        "size."
    )
