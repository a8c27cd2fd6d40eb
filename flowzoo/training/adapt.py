"""adapt: what is learned from data without gradients: a checking pass, moments, and actnorm's first rows."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from flowzoo.data import diagnostics
from flowzoo.data.moments import Moments
from flowzoo.data.outliers import FAR, MOST, Bounds, Census
from flowzoo.density import Density
from flowzoo.layers.preprocessing import Preprocessing
from flowzoo.utils import validation

# An endless dataset is read this far for its moments.
_ENDLESS_BATCHES = 1000
# With fewer rows, repeated values mean nothing.
_FEW = 100


def adapt(density: Density, data, context=None, *, batch_size: int, max_batches: int | None = None) -> bool:
    """Sets what the layers learn from data, first layer first; see `Flow.adapt`.

    Returns:
        Whether a few rows hold absurd values, which a warning names; they are left out.
    """
    wants = [layer.moments if isinstance(layer, Preprocessing) else "none" for layer in density.preprocessing]
    source = (density, data, context, batch_size, max_batches)
    kept = (_sample_size(density), wants[:1] == ["covariance"])
    moments, rows, contexts = _read(*source, *kept)
    bounds = _bounds(density, moments, rows, data, context, batch_size, max_batches)
    if bounds is not None:
        moments, rows, contexts = _read(*source, *kept, bounds)
    if moments.count > _FEW:
        is_float32 = density.dtype == "float32"
        for complaint in diagnostics.complaints(moments, rows, density.discrete_steps, is_float32):
            warnings.warn(complaint, stacklevel=3)
    for i, (layer, wanted) in enumerate(zip(density.preprocessing, wants, strict=True)):
        if wanted != "none":
            if i > 0:
                moments = _moments_before(density, i, wanted, data, context, batch_size, max_batches, bounds)
            layer.fit_moments(moments)
    h = density.preprocess(tf.constant(rows, density.dtype))
    context = None if contexts is None else tf.constant(contexts, density.dtype)
    for layer in density.transforms:
        h = layer.adapt(h, context)
    return bounds is not None


def check_data(
    density: Density, data, context=None, *, batch_size: int, max_batches: int | None = None
) -> bool:
    """One pass over the data: raises a ValueError if they cannot be trained on.

    Returns:
        Whether a few rows hold absurd values by the scales that the flow has learned; a warning says so.
    """
    moments, *_ = _read(density, data, context, batch_size, max_batches, sample_size=1)
    extremes = tf.constant(np.stack([moments.minimum, moments.maximum]), density.dtype)
    if moments.count <= _FEW or not tf.reduce_any(density.is_far(extremes)):
        return False
    far = sum(
        int(tf.math.count_nonzero(density.is_far(tf.constant(x, density.dtype))))
        for x, _ in batches(density, data, context, batch_size, max_batches)
    )
    if far > MOST * moments.count:
        return False
    warnings.warn(
        f"{far} of {moments.count} rows of x hold values more than {FAR:g} standard deviations from the mean "
        "that the flow has learned. They have no weight in training.",
        stacklevel=3,
    )
    return True


def batches(
    density: Density, data, context, batch_size: int, max_batches: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """``(x, context or None)`` batches of arrays, a `tf.data.Dataset` or a Keras `PyDataset`."""
    if isinstance(data, tf.data.Dataset):
        if context is not None:
            raise ValueError("A dataset carries its own context: make it yield (x, context) pairs.")
        _check_element_spec(density, data)
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
        iterator = _slices(density, data, context, batch_size)
    for element in itertools.islice(iterator, max_batches):
        x, c = _pair(element)
        validation.check_event_shape(np.shape(x), density.event_shape, "x")
        validation.check_context_presence(c is not None, density.context_shape)
        yield np.asarray(x), None if c is None else np.asarray(c)


def _slices(density, data, context, batch_size):
    validation.check_context_presence(context is not None, density.context_shape)
    x = validation.as_rows(data, density.event_shape, density.dtype, "x")
    c = validation.as_context(context, density.context_shape, int(x.shape[0]), density.dtype)
    for start in range(0, int(x.shape[0]), batch_size):
        chunk = slice(start, start + batch_size)
        yield (x[chunk].numpy(), None if c is None else c[chunk].numpy())


def _pair(element):
    if isinstance(element, (tuple, list)):
        return element[0], element[1] if len(element) > 1 else None
    return element, None


def _check_element_spec(density, dataset):
    spec = dataset.element_spec
    x, context = _pair(spec)
    if not isinstance(x, tf.TensorSpec):
        raise ValueError(f"The dataset must yield x or (x, context); it yields {spec}.")
    if not (x.dtype.is_floating or x.dtype.is_integer):
        raise ValueError(f"x must hold numbers; the dataset yields dtype {x.dtype.name}.")
    validation.check_event_shape(x.shape, density.event_shape, "x")
    validation.check_context_presence(context is not None, density.context_shape)
    if context is not None:
        validation.check_event_shape(context.shape, density.context_shape, "context")


def _bounds(density, moments, rows, data, context, batch_size, max_batches):
    """Bounds of the columns if a few rows hold absurd values, which a warning names; else None."""
    if len(density.event_shape) > 1 or moments.count <= _FEW:
        return None
    bounds = Bounds.of_sample(rows)
    if bounds.hold(moments.minimum, moments.maximum):
        return None
    census = Census(bounds)
    for x, _ in batches(density, data, context, batch_size, max_batches):
        census.update(x)
    if not census.few:
        return None
    warnings.warn(census.warning(), stacklevel=4)
    return bounds


def _read(density, data, context, batch_size, max_batches, sample_size, covariance=False, bounds=None):
    """One pass: raw moments (checked), and a uniform sample of rows with their contexts."""
    moments = Moments(density.event_shape, covariance)
    sample = _Reservoir(sample_size)
    for x, c in batches(density, data, context, batch_size, max_batches):
        if bounds is not None:
            within = bounds.within(x)
            x, c = x[within], None if c is None else c[within]
        moments.update(x)
        sample.offer(x, c)
        if c is not None:
            validation.check_finite(c, "context")
    moments.check("x")
    for layer in density.preprocessing:
        if isinstance(layer, Preprocessing):
            layer.check_range(moments)
    return moments, *sample.rows()


def _moments_before(density, index, wanted, data, context, batch_size, max_batches, bounds):
    """Moments of the data as preprocessing layer `index` sees them."""
    moments = Moments(density.event_shape, wanted == "covariance")
    for step, (x, _) in enumerate(batches(density, data, context, batch_size, max_batches)):
        x = x if bounds is None else x[bounds.within(x)]
        # Fresh noise, as in training: the rows' own is always the same where few values occur.
        noise_seed = tf.constant([index, step])
        rows = density.preprocess(tf.constant(x, density.dtype), index, noise_seed)
        moments.update(rows.numpy())
    return moments


class _Reservoir:
    """A uniform sample of rows from a stream: each row gets a random key, the smallest keys stay."""

    def __init__(self, size):
        self._size = size
        # An unusual seed: under seed 0 the keys would equal data that were drawn with default_rng(0).
        self._generator = np.random.default_rng(0xF10_2005_ADA97)
        self._keys, self._kept = np.zeros(0), None

    def offer(self, x, context):
        offered: tuple = (x,) if context is None else (x, context)
        keys = np.concatenate([self._keys, self._generator.random(len(x))])
        if self._kept is not None:
            offered = tuple(np.concatenate(pair) for pair in zip(self._kept, offered, strict=True))
        keep = np.argsort(keys, kind="stable")[: self._size]
        self._keys, self._kept = keys[keep], tuple(array[keep] for array in offered)

    def rows(self):
        if self._kept is None:
            return None, None
        return self._kept if len(self._kept) == 2 else (self._kept[0], None)


def _sample_size(density):
    return 256 if density.is_image else 2048
