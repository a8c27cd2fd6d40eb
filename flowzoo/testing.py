"""Checks of what every flow promises, for whoever registers one; plain functions, no pytest needed.

    from flowzoo.testing import check_promises

    def test_my_flow():
        check_promises("my_flow", event_shape=(2,), context_shape=(3,), layers=2)

Every check raises an `AssertionError` that says what was promised and what came. Choose small
options: the checks trace and compile each flow several times.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo import bijectors, random
from flowzoo.batching import RowFunction
from flowzoo.flow import Flow
from flowzoo.layers import Dequantize, Logit
from flowzoo.presets import from_pretrained
from flowzoo.registry import create_model

_INVERSE_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
_LOG_DET_TOLERANCE = {"float64": 1e-8, "float32": 1e-2}
# Between runtimes: relative to the largest value.
_AGREEMENT = {"float64": 1e-10, "float32": 1e-4}


# -- what the checks run on ----------------------------------------------------------------
def make_flow(
    name: str,
    event_shape: Sequence[int],
    context_shape: Sequence[int] | None = None,
    *,
    dtype: str = "float64",
    noise: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """A small flow away from the identity: adapted to raw data, then moved by noise on every weight.

    Args:
        name: Registry name.
        event_shape: ``(D,)`` or ``(H, W, C)``.
        context_shape: ``(size,)`` or None.
        dtype: "float64" or "float32".
        noise: Standard deviation of what is added to each trainable weight.
        seed: Of the weights, the data and the noise.
        **options: As in `create_model`.
    """
    keras.utils.set_random_seed(seed)
    flow = create_model(name, event_shape, context_shape, dtype=dtype, **options)
    flow.adapt(raw_rows(flow, 256, seed), contexts(flow, 256, seed))
    perturb(flow, noise, seed)
    return flow


def perturb(layer: keras.layers.Layer, noise: float = 0.1, seed: int = 0) -> None:
    """Adds seeded normal noise to every trainable weight, so that nothing hides behind a zero start."""
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(weight.numpy() + noise * generator.standard_normal(weight.shape))


def raw_rows(flow: Flow, count: int, seed: int = 0) -> np.ndarray:
    """Rows in raw units that the flow's preprocessing takes: pixels, whole numbers, or any numbers."""
    generator = np.random.default_rng(seed)
    shape = (count, *flow.event_shape)
    for layer in flow.preprocessing:
        if isinstance(layer, Logit):
            return generator.integers(int(layer.low), int(layer.high), shape)
    if any(isinstance(layer, Dequantize) for layer in flow.preprocessing):
        return generator.integers(0, 16, shape)
    return generator.normal(3.0, 2.0, shape)


def contexts(flow: Flow, count: int, seed: int = 0) -> np.ndarray | None:
    """Contexts for so many rows, or None for an unconditional flow."""
    if flow.context_shape is None:
        return None
    return np.random.default_rng(seed + 1).normal(size=(count, *flow.context_shape))


# -- bijectors -----------------------------------------------------------------------------
def check_bijector(
    bijector: bijectors.FusedBijector, z: Any, *, inverse_tolerance=None, log_det_tolerance=None
) -> None:
    """A bijector inverts itself both ways, and both its log-dets are the Jacobians'.

    Args:
        bijector: A fused one, without batch parameters.
        z: Latents ``[N, *latent_shape]``, well inside of the domain.
        inverse_tolerance: Of the round trips; 1e-9 in float64, 1e-4 in float32 by default.
        log_det_tolerance: Of the log-dets; 1e-8 in float64, 1e-2 in float32 by default.
    """
    dtype = bijector.dtype.name
    z = tf.convert_to_tensor(z, bijector.dtype)
    x, forward = bijector.forward_and_log_det(z)
    back, inverse = bijector.inverse_and_log_det(x)
    again = bijector.forward_and_log_det(back)[0]
    tolerance = inverse_tolerance or _INVERSE_TOLERANCE[dtype]
    _assert_close(back, z, tolerance, f"{bijector.name}: inverse(forward(z)) is not z")
    _assert_close(again, x, tolerance, f"{bijector.name}: forward(inverse(x)) is not x")
    tolerance = log_det_tolerance or _LOG_DET_TOLERANCE[dtype]
    for function, at, log_det, side in (
        (bijector.forward_and_log_det, z, forward, "forward"),
        (bijector.inverse_and_log_det, x, inverse, "inverse"),
    ):
        wanted = log_det_by_autodiff(lambda rows, f=function: f(rows)[0], at)
        log_det = np.broadcast_to(log_det, wanted.shape)
        _assert_close(log_det, wanted, tolerance, f"{bijector.name}: {side} log-det", relative=False)


def log_det_by_autodiff(function: Callable, rows: tf.Tensor, context: tf.Tensor | None = None) -> np.ndarray:
    """``log|det dy/dx|`` ``[N]`` of a map of rows ``y = function(x)`` or ``function(x, context)``.

    One backward pass: each row is repeated once for each of its outputs, which is right because a
    row's output depends on that row alone.
    """
    count, size = rows.shape[0], math.prod(rows.shape[1:])
    repeated = [tf.repeat(t, size, axis=0) for t in (rows, context) if t is not None]
    with tf.GradientTape() as tape:
        tape.watch(repeated[0])
        outputs = tf.reshape(function(*repeated), [count, size, size])
        own = tf.linalg.trace(outputs)
    jacobians = tf.reshape(tape.gradient(own, repeated[0]), [count, size, size])
    return np.linalg.slogdet(jacobians.numpy())[1]


# -- promises about the mathematics ----------------------------------------------------------
def check_inverse(flow: Flow) -> None:
    """forward(inverse(x)) = x for raw data, and inverse(forward(z)) = z for latents."""
    tolerance = _INVERSE_TOLERANCE[flow.variable_dtype]
    x, z, context = _points(flow)
    whole = flow.bijector(context)
    back = whole.forward_and_log_det(whole.inverse_and_log_det(x)[0])[0]
    _assert_close(back, x, tolerance, "forward(inverse(x)) is not x")
    # Without preprocessing, whose steps (a logit of pixels, say) have a conditioning of their own.
    transforms = [layer.bijector(context) for layer in flow.transforms]
    chain = bijectors.Chain(transforms, flow.event_shape, dtype=flow.variable_dtype)
    back = chain.inverse_and_log_det(chain.forward_and_log_det(z)[0])[0]
    _assert_close(back, z, tolerance, "inverse(forward(z)) is not z")


def check_log_det(flow: Flow) -> None:
    """Both log-dets of the whole flow are the log-determinants of the autodiff Jacobians."""
    tolerance = _LOG_DET_TOLERANCE[flow.variable_dtype]
    x, _, context = _points(flow, 3)

    def forward(z, context=None):
        return flow.bijector(context).forward_and_log_det(z)

    def inverse(x, context=None):
        return flow.bijector(context).inverse_and_log_det(x)

    # Not latents of the base: preprocessing may clip what these decode to, and has no Jacobian there.
    z = inverse(x, context)[0]
    for function, at, side in ((forward, z, "forward"), (inverse, x, "inverse")):
        wanted = log_det_by_autodiff(lambda *args, f=function: f(*args)[0], at, context)
        log_det = np.broadcast_to(function(at, context)[1], wanted.shape)
        _assert_close(log_det, wanted, tolerance, f"the {side} log-det", relative=False)


def check_density(flow: Flow) -> None:
    """The density of a flow on vectors of two integrates to 1, in raw units."""
    _, log_density, cell = _quadrature(flow)
    total = float(np.exp(log_density).sum() * cell)
    assert abs(total - 1.0) < 1e-3, f"the density integrates to {total:.5f}, wanted 1"


def check_samples(flow: Flow) -> None:
    """Samples of a flow on vectors of two follow its density: both margins, and the mean log-density."""
    grid, log_density, cell = _quadrature(flow)
    mass = np.exp(log_density) * cell
    count = 8192
    samples, context = _draw(flow, count)
    for axis in (0, 1):
        values = np.sort(samples[:, axis])
        margin = np.cumsum(mass.sum(1 - axis))
        # The density sits on the cells' middles: half a cell further the margin is complete.
        step = grid[axis][1] - grid[axis][0]
        wanted = np.interp(values, grid[axis] + step / 2, margin)
        distance = np.abs(wanted - (np.arange(count) + 0.5) / count).max()
        assert distance < 1.95 / math.sqrt(count), (
            f"column {axis} of the samples does not follow the density: their distribution functions "
            f"are {distance:.4f} apart, wanted < {1.95 / math.sqrt(count):.4f} (Kolmogorov-Smirnov, 0.1 %)"
        )
    own = flow.log_density(tf.constant(samples, flow.variable_dtype), context).numpy()
    wanted, error = float((mass * log_density).sum()), own.std() / math.sqrt(count)
    assert abs(own.mean() - wanted) < 4 * error + 1e-3, (
        f"the mean log-density of samples is {own.mean():.4f}, by quadrature {wanted:.4f} (±{error:.4f})"
    )


def check_near_identity(flow: Flow) -> None:
    """A new flow without preprocessing is near the identity, up to an order of the dimensions."""
    _, z, context = _points(flow)
    x, log_det = flow.bijector(context).forward_and_log_det(z)
    size = math.prod(flow.event_shape)
    log_det = np.abs(log_det).max() / size
    assert log_det < 0.05, f"a new flow's log-det is {log_det:.3f} for each dimension, wanted near 0"
    norms = [np.linalg.norm(np.reshape(t, [len(z), size]), axis=1) for t in (z, x)]
    stretch = np.abs(norms[1] / norms[0] - 1).max()
    assert stretch < 0.05, f"a new flow changes lengths by {stretch:.1%}, wanted near 0"


def check_gradients(flow: Flow) -> None:
    """Every trainable weight gets a finite gradient that is not all zeros."""
    x, _, context = _points(flow, 64)
    assert flow.trainable_variables, "the flow has no trainable weights"
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(flow.log_density(x, context, training=True))
    gradients = tape.gradient(mean, [variable.value for variable in flow.trainable_variables])
    for variable, gradient in zip(flow.trainable_variables, gradients, strict=True):
        assert gradient is not None, f"{variable.path} gets no gradient"
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all(), f"the gradient of {variable.path} is not finite"
        assert np.any(values), f"the gradient of {variable.path} is zero"


def check_context(flow: Flow) -> None:
    """Each number of a context changes the density and the samples."""
    if flow.context_shape is None:
        return
    x, z, context = _points(flow)
    density, decoded = flow.log_density(x, context), flow.decode_rows(z, context)
    for i in range(flow.context_shape[0]):
        other = context + tf.one_hot(i, flow.context_shape[0], dtype=context.dtype)
        assert np.all(flow.log_density(x, other) != density), f"context[{i}] does not change log_prob"
        assert np.any(flow.decode_rows(z, other) != decoded), f"context[{i}] does not change samples"


# -- promises about rows and runtimes --------------------------------------------------------
def check_runtimes(flow: Flow) -> None:
    """Eager, graph and XLA agree; one graph serves any number of rows, none as well."""
    x, z, context = _points(flow, 5)
    for method, rows in ((flow.log_density, x), (flow.decode_rows, z)):
        arguments = [tensor for tensor in (rows, context) if tensor is not None]
        signature = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in arguments]
        graph = tf.function(method, input_signature=signature, autograph=False)
        eager = method(*arguments)
        tolerance, name = _AGREEMENT[flow.variable_dtype], method.__name__
        for count in (5, 1, 0):
            got = graph(*[tensor[:count] for tensor in arguments])
            _assert_close(got, eager[:count], tolerance, f"{name} of {count} rows, graph against eager")
            assert method(*[tensor[:count] for tensor in arguments]).shape == got.shape
        compiled = RowFunction(method, 8, jit_compile=True)(*arguments)
        _assert_close(compiled, eager, tolerance, f"{name}, XLA against eager")


def check_rows(flow: Flow) -> None:
    """A row's density and sample do not depend on the rows beside it, be these NaN."""
    x, _, context = _points(flow, 6)
    seeds = tf.constant(random.row_seeds(5, 6))
    temperature = tf.linspace(tf.constant(0.5, x.dtype), 1.5, 6)
    row, tolerance = 3, _AGREEMENT[flow.variable_dtype]
    own = tf.reshape(tf.range(6) == row, [6] + [1] * (x.shape.rank - 1))
    for neighbour in (math.nan, 1.0):
        among = flow.log_density(tf.where(own, x, tf.cast(neighbour, x.dtype)), context)
        density = flow.log_density(x, context)
        assert among[row] == density[row], (
            f"log_prob of a row is {among[row]} among rows of {neighbour}, and {density[row]} among others"
        )
    alone: Any = [None if t is None else t[row : row + 1] for t in (x, context, seeds, temperature)]
    _assert_close(flow.log_density(*alone[:2]), density[row : row + 1], tolerance, "log_prob of a row alone")
    noise = flow.base.sample(seeds, temperature, context)
    noise_alone = flow.base.sample(alone[2], alone[3], alone[1])
    # Not to the last bit: a cosine rounds differently in a vector instruction and in its remainder.
    _assert_close(noise_alone[0], noise[row], 1e-6, "the noise of a row alone")
    samples, sample_alone = (
        flow.sample_rows(seeds, temperature, context),
        flow.sample_rows(alone[2], alone[3], alone[1]),
    )
    _assert_close(sample_alone[0], samples[row], tolerance, "a sample drawn alone")
    _assert_close(samples, flow.decode_rows(noise, context), tolerance, "samples against decoded noise")


def check_seeds(flow: Flow) -> None:
    """The same seed gives the same samples, another seed others, and `row_seeds` are what a seed means."""
    context = contexts(flow, 4)
    samples = flow.sample(4, context, seed=7).numpy()
    assert samples.shape == (4, *flow.event_shape), f"samples have shape {samples.shape}"
    assert np.isfinite(samples).all(), "samples hold NaN or infinity"
    again = flow.sample(4, context, seed=7).numpy()
    assert np.array_equal(again, samples), "the same seed gave other samples"
    rows = flow.sample(context=context, seed=random.row_seeds(7, 4)).numpy()
    assert np.array_equal(rows, samples), "sample(n, seed=s) is not sample(seed=row_seeds(s, n))"
    fewer = flow.sample(3, None if context is None else context[:3], seed=7).numpy()
    assert np.array_equal(fewer, samples[:3]), "the first samples change with their number"
    others = flow.sample(4, context, seed=8).numpy()
    assert not np.any(np.all(others == samples, axis=tuple(range(1, samples.ndim)))), "seed 8 is seed 7"


def check_distribution(flow: Flow) -> None:
    """As a TFP distribution it has the flow's density, with and without sample dimensions in front."""
    x, _, context = _points(flow, 6)
    context = None if context is None else context[:2]
    distribution, batch = flow.distribution(context), () if context is None else (2,)
    tolerance = _AGREEMENT[flow.variable_dtype]
    for shape in ((), (3,)):
        draws = distribution.sample(shape, seed=(0, 1))
        wanted = (*shape, *batch, *flow.event_shape)
        assert draws.shape == wanted, f"sample({shape}) has shape {draws.shape}, wanted {wanted}"
        rows = x[: math.prod((*shape, *batch))]
        each = None if context is None else tf.tile(context, [len(rows) // 2, 1])
        z, log_det = flow.bijector(each).inverse_and_log_det(rows)
        wanted = tf.reshape(flow.base.log_prob(z, each) + log_det, [*shape, *batch])
        got = distribution.log_prob(tf.reshape(rows, draws.shape))
        _assert_close(got, wanted, tolerance, f"log_prob of the TFP distribution, sample shape {shape}")


# -- promises about files ----------------------------------------------------------------------
def check_saving(flow: Flow) -> None:
    """A `.keras` file and a preset give back the same weights, densities and samples, to the last bit."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flow.keras"
        flow.save(path)
        _assert_same_flow(keras.saving.load_model(path), flow, "a .keras file")
        if flow.architecture is not None:
            flow.save_to_preset(Path(directory) / "preset")
            _assert_same_flow(from_pretrained(Path(directory) / "preset"), flow, "a preset")


def check_saved_model(flow: Flow) -> None:
    """The signatures of an exported flow agree with Keras, and hold no XLA, which TF Serving refuses."""
    with tempfile.TemporaryDirectory() as directory:
        version = flow.export(directory)
        assert Path(version) == Path(directory) / "1", f"the first version is {version}"
        graph = (Path(version) / "saved_model.pb").read_bytes()
        assert b"_XlaMustCompile" not in graph, "the SavedModel holds a function compiled with XLA"
        loaded = tf.saved_model.load(str(version))
        _check_signatures(flow, loaded.signatures)


def _check_signatures(flow, signatures):
    x = tf.cast(raw_rows(flow, 5, seed=3), flow.input_dtype)
    _, z, context = _points(flow, 5)
    rows = tf.cast(x, flow.variable_dtype)
    seeds = tf.constant(random.row_seeds(3, 5))
    temperature = tf.linspace(tf.constant(0.5, z.dtype), 1.5, 5)
    names = ("log_prob", "serving_default", "score", "sample", "encode", "decode")
    assert set(signatures) == set(names), f"the signatures are {sorted(signatures)}"
    score = {**flow.score_rows(rows, context)}
    inputs = {
        "sample": {"seed": seeds, "temperature": temperature},
        "decode": {"z": z},
    }
    wanted = {
        "log_prob": {"log_prob": score["log_prob"]},
        "serving_default": {"log_prob": score["log_prob"]},
        "score": score,
        "sample": {"x": flow.sample_rows(seeds, temperature, context)},
        "encode": {"z": flow.encode_rows(rows, context)},
        "decode": {"x": flow.decode_rows(z, context)},
    }
    for name in names:
        given = inputs.get(name, {"x": x})
        given = given if context is None else {**given, "context": context}
        outputs = signatures[name](**given)
        assert set(outputs) == set(wanted[name]), f"signature {name} gives {sorted(outputs)}"
        for key, value in wanted[name].items():
            got = tf.cast(outputs[key], flow.variable_dtype)
            value = tf.cast(value, flow.variable_dtype)
            _assert_close(got, value, _AGREEMENT[flow.variable_dtype], f"signature {name}, {key}")


# -- promises about messages -------------------------------------------------------------------
def check_messages(flow: Flow) -> None:
    """Wrong shapes, types and values are a `ValueError` that says what came and what was wanted."""
    x, context = raw_rows(flow, 2).astype(np.float64), contexts(flow, 2)
    wanted = _show("N", *flow.event_shape)
    wide, late = np.zeros((*x.shape[:-1], x.shape[-1] + 1)), x.copy()
    late[1].flat[0] = math.nan
    latents = np.zeros((2, math.prod(flow.latent_shape) + 1))
    cases: list[Any] = [
        ((flow.log_prob, wide, context), [wanted, _show(*wide.shape)]),
        ((flow.encode, x[0], context), [wanted, "x[None]"]),
        ((flow.log_prob, x.astype(str), context), ["numbers", "string"]),
        ((flow.log_prob, late, context), ["NaN", "1 of 2 rows", "row 1"]),
        ((flow.decode, latents, context), ["z must have shape", _show(*latents.shape)]),
    ]
    if context is None:
        given = np.zeros((2, 3))
        cases += [((f, a, given), ["takes no context"]) for f, a in ((flow.log_prob, x), (flow.sample, 2))]
    else:
        (size,) = context.shape[1:]
        shown = _show("N", size)
        cases += [
            ((flow.log_prob, x), ["conditional", shown]),
            ((flow.sample, 2), ["conditional", shown]),
            ((flow.log_prob, x, np.zeros((2, size + 1))), [shown, _show(2, size + 1)]),
            ((flow.log_prob, x, np.zeros((3, size))), ["3 rows", "2"]),
            ((flow.log_prob, x, np.full((2, size), math.nan)), ["context", "NaN"]),
        ]
    for (function, *arguments), words in cases:
        _assert_refuses(function, arguments, words)


# -- all together ------------------------------------------------------------------------------
FLOAT64_CHECKS = (check_inverse, check_log_det, check_gradients, check_context)
FLOAT32_CHECKS = (
    check_inverse,
    check_runtimes,
    check_rows,
    check_seeds,
    check_distribution,
    check_saving,
    check_saved_model,
    check_messages,
)
DENSITY_CHECKS = (check_density, check_samples)


def check_promises(
    name: str, event_shape: Sequence[int], context_shape: Sequence[int] | None = None, **options: Any
) -> None:
    """Everything that a flow of the zoo promises, for one registered architecture.

    Call it for vectors and for images, with and without a context, whatever the architecture takes.
    For ``event_shape=(2,)`` the density is integrated as well, and compared with samples.

    Args:
        name: Registry name.
        event_shape: ``(D,)`` or ``(H, W, C)``; small.
        context_shape: ``(size,)`` or None.
        **options: As in `create_model`; small.

    Raises:
        AssertionError: With the first promise that is broken.
    """
    check_near_identity(make_new_flow(name, event_shape, context_shape, **options))
    wide = make_flow(name, event_shape, context_shape, dtype="float64", **options)
    plain = make_flow(name, event_shape, context_shape, dtype="float32", **options)
    for check in FLOAT64_CHECKS:
        check(wide)
    for check in FLOAT32_CHECKS:
        check(plain)
    if tuple(event_shape) == (2,):
        for check in DENSITY_CHECKS:
            check(wide)


def make_new_flow(
    name: str, event_shape: Sequence[int], context_shape: Sequence[int] | None = None, **options: Any
) -> Flow:
    """A new flow without preprocessing, as `check_near_identity` takes it."""
    keras.utils.set_random_seed(0)
    own = {"preprocessing": "none", "dequantize": None, "base": "normal", "dtype": "float64"}
    return create_model(name, event_shape, context_shape, **{**options, **own})


# -- helpers -----------------------------------------------------------------------------------
def _points(flow, count=8):
    """Raw rows spread over their steps, latents of the base, and contexts, as tensors."""
    dtype = flow.variable_dtype
    x = flow.dequantize(tf.constant(raw_rows(flow, count, seed=3), dtype))
    context = contexts(flow, count, seed=3)
    context = None if context is None else tf.constant(context, dtype)
    seeds = tf.constant(random.row_seeds(3, count))
    return x, flow.base.sample(seeds, tf.ones([count], dtype), context), context


def _draw(flow, count):
    """Samples under one context, and that context for each of them."""
    context = None
    if flow.context_shape is not None:
        context = tf.repeat(tf.constant(contexts(flow, 1), flow.variable_dtype), count, axis=0)
    seeds = tf.constant(random.row_seeds(11, count))
    return flow.sample_rows(seeds, tf.ones([count], flow.variable_dtype), context).numpy(), context


def _quadrature(flow, size=320):
    """A grid over twice the span of samples: its two axes, log-densities, the volume of a cell."""
    samples, context = _draw(flow, 2048)
    low, high = samples.min(0), samples.max(0)
    middle, reach = (low + high) / 2, high - low
    axes = [np.linspace(m - r, m + r, size) for m, r in zip(middle, reach, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    context = None if context is None else tf.repeat(context[:1], len(points), axis=0)
    log_density = flow.log_density(tf.constant(points, flow.variable_dtype), context)
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    return axes, log_density.numpy().reshape(size, size), cell


def _assert_same_flow(got, wanted, where):
    x, z, context = _points(wanted, 4)
    assert type(got) is type(wanted)
    for one, other in zip(got.get_weights(), wanted.get_weights(), strict=True):
        assert np.array_equal(one, other), f"{where} changes weights"
    for method, rows in (("log_density", x), ("decode_rows", z)):
        one, other = (getattr(flow, method)(rows, context).numpy() for flow in (got, wanted))
        assert np.array_equal(one, other), f"{where} changes {method} by {np.abs(one - other).max()}"


def _assert_refuses(function, arguments, words):
    name = function.__name__
    message = None
    with contextlib.suppress(tf.errors.InvalidArgumentError):
        try:
            function(*arguments)
        except ValueError as error:
            message = str(error)
    assert message is not None, f"{name} raised no ValueError, wanted one about {words}"
    for word in words:
        assert word in message, f"{name}: the message {message!r} does not say {word!r}"


def _assert_close(got, wanted, tolerance, what, relative=True):
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    if not wanted.size:
        return
    scale = max(1.0, float(np.abs(wanted).max())) if relative else 1.0
    error = float(np.abs(got - wanted).max()) / scale
    assert error <= tolerance, f"{what}: off by {error:.3g}, wanted <= {tolerance:g}"


def _show(*shape):
    return "(" + ", ".join(str(size) for size in shape) + ")"
