import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st

from flowzoo.bijectors import RationalQuadraticSpline
from flowzoo.bijectors import spline as module
from flowzoo.testing import check_bijector

# Ops that tf2onnx or onnxruntime lack, see FIELD-NOTES section 4.
NOT_IN_ONNX = {"BatchMatMulV2", "BroadcastArgs", "GatherNd", "LowerBound", "Searchsorted", "UpperBound"}


def spline(event=(4,), bins=8, scale=2.0, seed=0, dtype=tf.float64, batch=(), **kwargs):
    parameters = scale * np.random.default_rng(seed).normal(size=(*batch, *event, 3 * bins - 1))
    return RationalQuadraticSpline(parameters, event, dtype=dtype, **kwargs)


def knots(parameters, bins, bound):
    """Widths, heights and inner slopes from their definitions."""

    def sizes(logits):
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        smallest = min(0.02, 0.5 / bins)
        return 2 * bound * (smallest + (1 - bins * smallest) * shares)

    widths, heights, raw = np.split(parameters, [bins, 2 * bins], axis=-1)
    # From 0.01 to 10 by a sigmoid that is 1 at zero.
    slopes = 0.01 + 9.99 / (1 + np.exp(-raw) * 9.0 / 0.99)
    return sizes(widths), sizes(heights), slopes


def points(count, event, reach=4.0, seed=1):
    return np.random.default_rng(seed).uniform(-reach, reach, (count, *event))


# -- what it computes --------------------------------------------------------------------------
@pytest.mark.parametrize(("bins", "bound"), [(2, 1.0), (8, 3.0), (40, 5.0)])
def test_it_is_tfps_spline_on_the_same_knots(assert_like_oracle, bins, bound):
    event = (4,)
    parameters = 2.0 * np.random.default_rng(0).normal(size=(*event, 3 * bins - 1))
    ours = RationalQuadraticSpline(parameters, event, bound=bound, dtype=tf.float64)
    theirs = tfp.bijectors.RationalQuadraticSpline(*knots(parameters, bins, bound), range_min=-bound)
    z = points(200, event, reach=1.3 * bound)
    assert_like_oracle(ours, tfp.bijectors.Invert(theirs), z, tolerance=1e-10)


@pytest.mark.parametrize("event", [(1,), (5,), (2, 3, 2)])
def test_inverse_and_jacobian(event):
    check_bijector(spline(event), points(3, event))


def test_zero_parameters_are_the_identity():
    x = points(50, (4,))
    for dtype, tolerance in ((tf.float64, 1e-14), (tf.float32, 1e-6)):
        bijector = spline(scale=0.0, dtype=dtype)
        for function in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
            y, log_det = function(tf.constant(x, dtype))
            np.testing.assert_allclose(y, x, rtol=0, atol=tolerance)
            np.testing.assert_allclose(log_det, np.zeros(50), rtol=0, atol=10 * tolerance)


def test_the_tails_are_the_identity_to_the_last_bit():
    bijector = spline((4,), dtype=tf.float32)
    x = np.array([[3.0, -3.0, 3.0000002, -1e6]], np.float32)
    for function in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
        y, log_det = function(x)
        np.testing.assert_array_equal(y, x)
        assert float(log_det[0]) == 0.0


def test_map_and_slope_are_continuous_at_the_ends_and_at_the_knots():
    bijector = spline((1,), scale=1.0)
    widths = knots(np.random.default_rng(0).normal(size=(1, 23)), 8, 3.0)[0][0]
    ends = -3.0 + np.concatenate([[0.0], np.cumsum(widths)])
    step = 1e-9
    sides = [bijector.inverse_and_log_det((ends + side)[:, None]) for side in (-step, step)]
    for left, right in zip(*sides, strict=True):
        np.testing.assert_allclose(np.ravel(left), np.ravel(right), rtol=0, atol=1e-6)


def test_it_increases_and_stays_in_the_interval():
    x = np.linspace(-3, 3, 20001)[:, None]
    z = spline((1,), scale=5.0).inverse(x).numpy()
    assert np.all(np.diff(z[:, 0]) > 0)
    assert z[0] == -3.0
    assert z[-1] == 3.0


def test_slopes_are_bounded_and_one_at_zero():
    slopes = module._slope(tf.constant([-1e3, 0.0, 1e3], tf.float64)).numpy()
    np.testing.assert_allclose(slopes, [0.01, 1.0, 10.0], rtol=1e-12)


def test_log_dets_add_over_the_event_only():
    bijector = spline((2, 3))
    x = points(4, (2, 3))
    columns = spline((2, 3, 1), seed=0)
    parts = columns.inverse_and_log_det(x[..., None, :, :, None])
    z, log_det = bijector.inverse_and_log_det(x)
    assert log_det.shape == (4,)
    np.testing.assert_allclose(np.ravel(parts[0]), np.ravel(z), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.ravel(parts[1]), log_det, rtol=0, atol=1e-12)


# -- shapes of the parameters ------------------------------------------------------------------
@pytest.mark.parametrize("event", [(1,), (4,), (2, 3, 2)])
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_knots_in_the_middle_are_knots_at_the_end(event, batch):
    parameters = np.random.default_rng(0).normal(size=(*batch, *event, 11))
    last = RationalQuadraticSpline(parameters, event, dtype=tf.float64)
    middle = RationalQuadraticSpline(np.swapaxes(parameters, -1, -2), event, knots_axis=-2, dtype=tf.float64)
    x = points(5, event)
    for name in ("forward_and_log_det", "inverse_and_log_det"):
        for one, other in zip(getattr(last, name)(x), getattr(middle, name)(x), strict=True):
            assert one.shape[: len(batch or (5,))] == (batch or (5,))
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_each_row_and_column_uses_its_own_parameters():
    parameters = np.random.default_rng(0).normal(size=(6, 4, 23))
    x = points(6, (4,))
    whole = RationalQuadraticSpline(parameters, (4,), dtype=tf.float64).inverse(x).numpy()
    for i in range(4):
        column = RationalQuadraticSpline(parameters[:, i : i + 1], (1,), dtype=tf.float64)
        np.testing.assert_allclose(column.inverse(x[:, i : i + 1]), whole[:, i : i + 1], atol=1e-12)
    row = RationalQuadraticSpline(parameters[2], (4,), dtype=tf.float64)
    np.testing.assert_allclose(row.inverse(x[2:3]), whole[2:3], rtol=0, atol=1e-12)


def test_pixels_may_share_parameters():
    shared = np.random.default_rng(0).normal(size=(11, 3))
    x = points(2, (4, 5, 3))
    images = RationalQuadraticSpline(shared, (4, 5, 3), knots_axis=-2, dtype=tf.float64)
    rows = RationalQuadraticSpline(shared, (3,), knots_axis=-2, dtype=tf.float64)
    z, log_det = images.inverse_and_log_det(x)
    wanted, parts = rows.inverse_and_log_det(x)
    np.testing.assert_allclose(z, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det, tf.reduce_sum(parts, axis=[1, 2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [0, 1])
def test_few_rows(batch):
    bijector = spline((3,), batch=(batch,), dtype=tf.float32)
    z, log_det = bijector.inverse_and_log_det(tf.zeros([batch, 3]))
    assert (z.shape, log_det.shape) == ((batch, 3), (batch,))


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"3K - 1 parameters for each element; got 24.*knots_axis=-1"):
        RationalQuadraticSpline(np.zeros((4, 24)), (4,))
    with pytest.raises(ValueError, match=r"K >= 2 bins.*got 2"):
        RationalQuadraticSpline(np.zeros((4, 2)), (4,))
    with pytest.raises(ValueError, match=r"bound must be > 0; got 0"):
        spline(bound=0.0)
    with pytest.raises(ValueError, match=r"knots_axis must be -1 or -2; got 1"):
        spline(knots_axis=1)
    with pytest.raises(ValueError, match=r"bins must be >= 2; got 1"):
        RationalQuadraticSpline.parameters_size(1)


# -- numerics ----------------------------------------------------------------------------------
def round_trips(dtype, scale):
    """Round-trip errors from latents and from data, for 50,000 random splines of 8 bins at one point each."""
    bijector = spline((1,), batch=(50_000,), scale=scale, dtype=dtype)
    v = tf.constant(points(50_000, (1,), reach=3.0), dtype)
    x, z = bijector.forward_and_log_det(v)[0], bijector.inverse_and_log_det(v)[0]
    from_latents = np.abs(bijector.inverse_and_log_det(x)[0] - v)
    from_data = np.abs(bijector.forward_and_log_det(z)[0] - v)
    return from_latents.ravel(), from_data.ravel()


def test_round_trip_in_float32():
    from_latents, from_data = round_trips(tf.float32, np.sqrt(2.0))
    assert from_latents.max() < 3e-5
    # From data, the error is large where a map is flat: rarely, and never larger than this.
    assert np.quantile(from_data, 0.999) < 1e-4
    assert from_data.max() < 1e-3


def test_round_trip_in_float64():
    from_latents, from_data = round_trips(tf.float64, 2.0)
    assert max(from_latents.max(), from_data.max()) < 1e-10


def test_the_root_keeps_its_digits_where_slopes_are_steep():
    # A wide and flat bin between steep knots: b of the quadratic changes its sign inside the bin.
    parameters = np.concatenate([np.zeros(16), np.full(7, 10.0)])[None]
    parameters[:, 3], parameters[:, 8 + 3] = 6.0, -6.0
    z = points(20_000, (1,), reach=3.0).astype(np.float32).astype(np.float64)
    x = RationalQuadraticSpline(parameters, (1,)).forward(z.astype(np.float32)).numpy()
    # The map stretches by thousands there, but the latents must come back.
    back = RationalQuadraticSpline(parameters, (1,), dtype=tf.float64).inverse(x.astype(np.float64))
    assert np.abs(back - z).max() < 2e-5


@settings(max_examples=40, deadline=None)
@given(
    bins=st.sampled_from([2, 3, 8, 64]),
    log_size=st.floats(-3, 6),
    log_scale=st.floats(-3, 6),
    dtype=st.sampled_from([tf.float32, tf.float64]),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients_are_finite(bins, log_size, log_scale, dtype, seed):
    generator = np.random.default_rng(seed)
    rows = np.concatenate([10.0**log_size * generator.normal(size=(6, 3)), generator.normal(size=(6, 3))])
    rows[0], rows[-1] = 0.0, 10.0**log_size
    rows, event = tf.constant(rows, dtype), (3,)
    parameters = tf.constant(10.0**log_scale * generator.normal(size=(12, 3, 3 * bins - 1)), dtype)
    for name in ("forward_and_log_det", "inverse_and_log_det"):
        with tf.GradientTape() as tape:
            tape.watch([rows, parameters])
            bijector = RationalQuadraticSpline(parameters, event, dtype=dtype)
            value, log_det = getattr(bijector, name)(rows)
        gradients = tape.gradient([value, log_det], [rows, parameters])
        for tensor in (value, log_det, *gradients):
            assert np.isfinite(tensor.numpy()).all(), name


@pytest.mark.parametrize("name", ["forward_and_log_det", "inverse_and_log_det"])
def test_gradients_where_a_knot_is_hit(name):
    # Zero parameters put a knot at 0, and the ends at +-3.
    parameters, rows = tf.zeros([3, 23], tf.float64), tf.constant([[0.0, 3.0, -3.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([parameters, rows])
        bijector = RationalQuadraticSpline(parameters, (3,), dtype=tf.float64)
        value, _ = getattr(bijector, name)(rows)
    by_parameters, by_rows = tape.gradient(value, [parameters, rows])
    np.testing.assert_allclose(by_rows, np.ones((1, 3)), rtol=0, atol=1e-12)
    assert np.isfinite(by_parameters).all()


def test_nan_stays_where_it_is():
    x = np.array([[np.nan, 0.5], [0.1, 0.2]])
    bijector = spline((2,))
    z = bijector.inverse(x).numpy()
    np.testing.assert_array_equal(np.isnan(z), np.isnan(x))
    np.testing.assert_array_equal(z[1], bijector.inverse(x[1:])[0])


# -- runtimes ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["forward_and_log_det", "inverse_and_log_det"])
def test_xla_agrees_and_the_graph_is_safe_for_onnx(name):
    x = tf.constant(points(7, (3,)), tf.float32)

    def function(x, parameters):
        return getattr(RationalQuadraticSpline(parameters, (3,), knots_axis=-2), name)(x)

    parameters = tf.random.stateless_normal([7, 23, 3], [0, 1])
    eager = function(x, parameters)
    compiled = tf.function(function, jit_compile=True, autograph=False)(x, parameters)
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    specs = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (x, parameters)]
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    assert not {operation.type for operation in graph.get_operations()} & NOT_IN_ONNX
