"""What is learned from data without gradients: a checking pass, moments, and actnorm's first rows."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from flowzoo import checks, ties
from flowzoo.layers import Dequantize, Logit, Standardize, Whiten
from flowzoo.moments import Moments

if TYPE_CHECKING:
    from flowzoo.flow import Flow

# An endless dataset is read this far for its moments.
_ENDLESS_BATCHES = 1000
# Of so few rows nobody can tell what they are like.
_FEW = 100


def adapt(flow: Flow, data, context=None, *, batch_size: int, max_batches: int | None = None) -> None:
    """Sets what the flow's layers learn from data, first layer first; see `Flow.adapt`."""
    moments, rows, contexts = _read(
        flow, data, context, batch_size, max_batches, _sample_size(flow), _whitens(flow, 0)
    )
    if moments.count > _FEW:
        for complaint in ties.complaints(moments, rows, _steps(flow), flow.variable_dtype == "float32"):
            warnings.warn(complaint, stacklevel=3)
    for i, layer in enumerate(flow.preprocessing):
        if isinstance(layer, (Standardize, Whiten)):
            if i > 0:
                moments = _moments_before(flow, i, data, context, batch_size, max_batches)
            _refuse_constant_columns(moments)
            spread = moments.covariance if _whitens(flow, i) else moments.variance
            layer.set_moments(moments.mean, spread)
    h = flow.preprocess(tf.constant(rows, flow.variable_dtype))
    context = None if contexts is None else tf.constant(contexts, flow.variable_dtype)
    for layer in flow.transforms:
        h = layer.adapt(h, context)
    flow.adapted.assign(1.0)


def check_data(flow: Flow, data, context=None, *, batch_size: int, max_batches: int | None = None) -> None:
    """One pass over the data: raises a ValueError if they cannot be trained on."""
    _read(flow, data, context, batch_size, max_batches, sample_size=1)


def batches(
    flow: Flow, data, context, batch_size: int, max_batches: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """``(x, context or None)`` batches of arrays, a `tf.data.Dataset` or a Keras `PyDataset`."""
    if isinstance(data, tf.data.Dataset):
        if context is not None:
            raise ValueError("A dataset carries its own context: make it yield (x, context) pairs.")
        _check_element_spec(flow, data)
        if max_batches is None and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            max_batches = _ENDLESS_BATCHES
        iterator = data.as_numpy_iterator()
    elif isinstance(data, keras.utils.PyDataset):
        iterator = (data[i] for i in range(len(data)))
    elif hasattr(data, "__next__"):
        raise ValueError(
            "A generator can be read only once, and the data are checked and measured before the first "
            "step. Wrap it: tf.data.Dataset.from_generator(lambda: ..., output_signature=...)."
        )
    else:
        iterator = _slices(flow, data, context, batch_size)
    for element in itertools.islice(iterator, max_batches):
        x, c = _pair(element)
        checks.check_event_shape(np.shape(x), flow.event_shape, "x")
        checks.check_context_presence(c is not None, flow.context_shape)
        yield np.asarray(x), None if c is None else np.asarray(c)


def _slices(flow, data, context, batch_size):
    checks.check_context_presence(context is not None, flow.context_shape)
    x = checks.as_rows(data, flow.event_shape, flow.variable_dtype, "x")
    c = checks.as_context(context, flow.context_shape, int(x.shape[0]), flow.variable_dtype)
    for start in range(0, int(x.shape[0]), batch_size):
        part = slice(start, start + batch_size)
        yield (x[part].numpy(), None if c is None else c[part].numpy())


def _pair(element):
    if isinstance(element, (tuple, list)):
        return element[0], element[1] if len(element) > 1 else None
    return element, None


def _check_element_spec(flow, dataset):
    spec = dataset.element_spec
    x, context = _pair(spec)
    if not isinstance(x, tf.TensorSpec):
        raise ValueError(f"The dataset must yield x or (x, context); it yields {spec}.")
    if not (x.dtype.is_floating or x.dtype.is_integer):
        raise ValueError(f"x must hold numbers; the dataset yields dtype {x.dtype.name}.")
    checks.check_event_shape(x.shape, flow.event_shape, "x")
    checks.check_context_presence(context is not None, flow.context_shape)
    if context is not None:
        checks.check_event_shape(context.shape, flow.context_shape, "context")


def _read(flow, data, context, batch_size, max_batches, sample_size, covariance=False):
    """One pass: raw moments (checked), and a uniform sample of rows with their contexts."""
    moments = Moments(flow.event_shape, covariance)
    sample = _Reservoir(sample_size)
    for x, c in batches(flow, data, context, batch_size, max_batches):
        moments.update(x)
        sample.offer(x, c)
        if c is not None:
            checks.check_finite(c, "context")
    moments.check("x")
    _check_range(flow, moments)
    return moments, *sample.rows()


def _moments_before(flow, index, data, context, batch_size, max_batches):
    """Moments of the data as layer `index` sees them."""
    moments = Moments(flow.event_shape, _whitens(flow, index))
    for step, (x, _) in enumerate(batches(flow, data, context, batch_size, max_batches)):
        # New noise, as in training: the rows' own is always the same where few values occur.
        noise_seed = tf.constant([index, step])
        moments.update(flow.preprocess(tf.constant(x, flow.variable_dtype), index, noise_seed).numpy())
    return moments


def _whitens(flow, index):
    """Whether preprocessing layer `index` takes a covariance; for others it would be counted in vain."""
    return isinstance((*flow.preprocessing, None)[index], Whiten)


class _Reservoir:
    """A uniform sample of rows from a stream: each row gets a random key, the smallest stay."""

    def __init__(self, size):
        self._size = size
        # A seed of its own: with 0 the keys of data that were drawn with default_rng(0) would be the data.
        self._generator = np.random.default_rng(0xF10_2005_ADA97)
        self._keys, self._parts = np.zeros(0), None

    def offer(self, x, context):
        parts: tuple = (x,) if context is None else (x, context)
        keys = np.concatenate([self._keys, self._generator.random(len(x))])
        if self._parts is not None:
            parts = tuple(np.concatenate(pair) for pair in zip(self._parts, parts, strict=True))
        keep = np.argsort(keys, kind="stable")[: self._size]
        self._keys, self._parts = keys[keep], tuple(part[keep] for part in parts)

    def rows(self):
        if self._parts is None:
            return None, None
        return self._parts if len(self._parts) == 2 else (self._parts[0], None)


def _sample_size(flow):
    return 256 if len(flow.event_shape) == 3 else 2048


def _check_range(flow, moments):
    for layer in flow.preprocessing:
        if isinstance(layer, Logit):
            low, high = float(moments.minimum.min()), float(moments.maximum.max())
            if low < layer.low or high > layer.high:
                raise ValueError(
                    f"x must lie in [{layer.low:g}, {layer.high:g}]; it spans {low:g} to {high:g}. Pass raw "
                    "pixels 0..255, or create the flow with preprocessing='standardize'."
                )
            if low >= 0 and 0 < high <= 1 and not moments.integral.all() and layer.high > 2:
                raise ValueError(
                    f"x spans {low:g} to {high:g}: these look like pixels scaled to 0..1, but the flow takes "
                    f"{layer.low:g}..{layer.high:g}. Pass the raw pixels (x * 255), not scaled ones."
                )


def _refuse_constant_columns(moments):
    constant = np.flatnonzero((moments.maximum == moments.minimum).ravel())
    if len(constant):
        shown = ", ".join(f"{column} (always {moments.minimum.ravel()[column]:g})" for column in constant[:5])
        raise ValueError(
            f"{len(constant)} column(s) of x never change: {shown}. A density there runs to infinity: drop "
            "them, or say that the data are discrete with create_model(..., dequantize=)."
        )


def _steps(flow):
    """The steps that the flow dequantises, of the event shape; 0 for none."""
    widths = [layer.width for layer in flow.preprocessing if isinstance(layer, Dequantize)]
    return np.broadcast_to(np.asarray(widths[0] if widths else 0.0), flow.event_shape)
