"""RationalQuadraticSpline: monotone splines with linear tails, elementwise (Durkan et al. 2019)."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from flowzoo.bijectors.base import FusedBijector, Shape

# Chosen by the error of the float32 round trip, see `RationalQuadraticSpline`.
_MIN_BIN = 0.02
_MIN_SLOPE, _MAX_SLOPE = 1e-2, 10.0
# Makes the slope of a zero parameter 1.
_SLOPE_OFFSET = math.log((1.0 - _MIN_SLOPE) / (_MAX_SLOPE - 1.0))
# Lower bound under the square root, so that its gradient stays finite where rounding leaves 0.
_TINY = 1e-12


class _Bin(NamedTuple):
    """One bin for each element: its lower left corner, its size, the slopes at its two knots."""

    x: tf.Tensor
    y: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    left: tf.Tensor
    right: tf.Tensor


class RationalQuadraticSpline(FusedBijector):
    """Monotone rational-quadratic splines on ``[-bound, bound]``, the identity outside it.

    Data to latent (`inverse`, for densities) is the spline itself, equation 4 of the paper. Latent to data
    (`forward`, for samples) solves a quadratic, see appendix A.3. The tails are those of section 3.2: the
    slope at both ends is 1, so that map and slope are continuous there.

    An element has ``3K - 1`` unconstrained parameters: K for the widths of the bins (data side), K for their
    heights (latent side), K - 1 for the slopes at the inner knots. If all are zero, the spline is the
    identity.

    In float32 a map can be inverted only where it is not too flat, so sizes and slopes are bounded. A bin
    takes at least 0.02 of the interval in width and height (less from 26 bins on, where half of the interval
    stays free). A knot's slope lies in (0.01, 10). Where a map reaches these bounds, float32 still loses
    digits.

    Args:
        parameters: Parameters that broadcast against ``[..., *event_shape, 3K - 1]``, any K >= 2.
        event_shape: Event shape of both sides, with at least one dimension.
        bound: The interval is ``[-bound, bound]`` on both sides.
        knots_axis: -1, or -2 for parameters ``[..., *event_shape[:-1], 3K - 1, event_shape[-1]]``, which
            is faster for long last axes: a vector instruction then works on one knot of many elements.
        dtype: Floating dtype.
        name: Name shown in error messages.

    Raises:
        ValueError: If the number of parameters is not ``3K - 1``, or `bound` or `knots_axis` is invalid.

    References:
        Neural Spline Flows (Durkan, Bekasov, Murray and Papamakarios, 2019), https://arxiv.org/abs/1906.04032

    Example:
        >>> import tensorflow as tf
        >>> from flowzoo.bijectors import RationalQuadraticSpline
        >>> spline = RationalQuadraticSpline(tf.zeros([2, 23]), (2,))
        >>> z, log_det = spline.inverse_and_log_det([[0.5, 100.0]])
        >>> z.numpy().tolist(), log_det.numpy().tolist()
        ([[0.500, 100.0]], [0.000])
    """

    def __init__(
        self,
        parameters,
        event_shape: Shape,
        *,
        bound: float = 3.0,
        knots_axis: int = -1,
        dtype=tf.float32,
        name: str | None = None,
    ):
        if not bound > 0:
            raise ValueError(f"bound must be > 0; got {bound}.")
        if knots_axis not in (-1, -2):
            raise ValueError(f"knots_axis must be -1 or -2; got {knots_axis}.")
        parameters = tf.convert_to_tensor(parameters, dtype)
        count = parameters.shape[knots_axis]
        if count is None or count < 5 or count % 3 != 2:
            raise ValueError(
                f"A spline of K >= 2 bins has 3K - 1 parameters for each element; got {count}, in "
                f"parameters of shape {parameters.shape} with knots_axis={knots_axis}."
            )
        self._bins = (count + 1) // 3
        self._bound = float(bound)
        self._axis = knots_axis
        widths, heights, slopes = tf.split(parameters, [self._bins, self._bins, self._bins - 1], knots_axis)
        self._widths, self._heights = self._sizes(widths), self._sizes(heights)
        self._slopes = slopes
        super().__init__(event_shape, event_shape, dtype=dtype, name=name)

    @staticmethod
    def parameters_size(bins: int) -> int:
        """Number of parameters of an element: ``3 * bins - 1``."""
        if bins < 2:
            raise ValueError(f"bins must be >= 2; got {bins}.")
        return 3 * bins - 1

    def _inverse_and_log_det(self, x):
        inside, clipped = self._clip(x)
        knots = self._bin_of(clipped, self._widths)
        rise, slope = _evaluate(knots, (clipped - knots.x) / knots.width)
        return tf.where(inside, knots.y + knots.height * rise, x), self._log_det(inside, slope)

    def _forward_and_log_det(self, z):
        inside, clipped = self._clip(z)
        knots = self._bin_of(clipped, self._heights)
        run = _solve(knots, tf.clip_by_value((clipped - knots.y) / knots.height, 0.0, 1.0))
        _, slope = _evaluate(knots, run)
        return tf.where(inside, knots.x + knots.width * run, z), -self._log_det(inside, slope)

    def _clip(self, value):
        """Which elements are inside the interval, and all elements clipped to it."""
        return tf.abs(value) < self._bound, tf.clip_by_value(value, -self._bound, self._bound)

    def _log_det(self, inside, slope):
        axes = list(range(-len(self.data_shape), 0))
        return tf.reduce_sum(tf.math.log(tf.where(inside, slope, tf.ones([], self.dtype))), axis=axes)

    def _sizes(self, logits):
        """Widths or heights of the bins, by a softmax with a lower bound for each bin."""
        smallest = min(_MIN_BIN, 0.5 / self._bins)
        free = 1.0 - smallest * self._bins
        peak = tf.stop_gradient(tf.reduce_max(logits, self._axis, keepdims=True))
        shares = tf.exp(logits - peak)
        scale = 2.0 * self._bound * free / tf.reduce_sum(shares, self._axis, keepdims=True)
        return 2.0 * self._bound * smallest + shares * scale

    def _bin_of(self, value, sizes):
        """The bin that holds each value; `sizes` are those of the bins on the side of the values."""
        below, own = self._masks(value, sizes)
        # The inner knots 1..K-1: left ends of all bins but the first, right ends of all but the last.
        not_first = tf.split(own, [1, self._bins - 1], self._axis)[1]
        not_last = tf.split(own, [self._bins - 1, 1], self._axis)[0]
        widths, heights = _rows(self._widths, own), _rows(self._heights, own)
        slopes = _rows(self._slopes, not_first)
        return _Bin(
            x=self._pick(below, widths) - self._bound,
            y=self._pick(below, heights) - self._bound,
            width=self._pick(own, widths),
            height=self._pick(own, heights),
            left=_slope(self._pick(not_first, slopes)),
            right=_slope(self._pick(not_last, slopes)),
        )

    def _masks(self, value, sizes):
        """Two masks: 1 for the bins below each value, and 1 for its own bin; 0 elsewhere.

        Uses comparisons, because ONNX lacks a search and the batched gather. The running sum is unrolled,
        because `tf.cumsum` was slower on a CPU. A chain of selects over single bins ran faster as a graph,
        but took more than twice as long to compile under XLA.
        """
        right_end, ends = -self._bound, []
        for size in tf.unstack(tf.stop_gradient(sizes), axis=self._axis)[:-1]:
            right_end = right_end + size
            ends.append(right_end)
        passed = tf.expand_dims(value, self._axis) >= tf.stack(ends, self._axis)
        passed = tf.cast(passed, self.dtype)
        below = self._pad(passed, [0, 1], 0.0)
        return below, self._pad(passed, [1, 0], 1.0) - below

    def _pad(self, mask, before_and_after, value):
        paddings = [[0, 0] for _ in mask.shape]
        paddings[self._axis] = before_and_after
        return tf.pad(mask, paddings, constant_values=value)

    def _pick(self, mask, values):
        return tf.reduce_sum(mask * values, self._axis)


def _rows(shared, mask):
    """Repeats parameters that all rows share for each row, which trains a quarter faster under XLA.

    The two gradients of a parameter are then added before the sum over the rows, not after it.
    """
    return shared if shared.shape.rank == mask.shape.rank else tf.broadcast_to(shared, tf.shape(mask))


def _slope(parameter):
    """Slope at a knot: 1 where the parameter is zero, as at both ends of the interval."""
    return _MIN_SLOPE + (_MAX_SLOPE - _MIN_SLOPE) * tf.sigmoid(parameter + _SLOPE_OFFSET)


def _evaluate(knots, run):
    """Equations 4 and 5 at the fraction `run` of a bin's width: fraction of its height, and derivative."""
    mean = knots.height / knots.width
    both = run * (1.0 - run)
    divisor = mean + (knots.left + knots.right - 2.0 * mean) * both
    rise = (mean * tf.square(run) + knots.left * both) / divisor
    ends = knots.right * tf.square(run) + knots.left * tf.square(1.0 - run)
    return rise, tf.square(mean / divisor) * (ends + 2.0 * mean * both)


def _solve(knots, rise):
    """Inverts `_evaluate`: the root in [0, 1] of equations 6 to 8, in units of the bin."""
    mean = knots.height / knots.width
    b = knots.left - rise * (knots.left + knots.right - 2.0 * mean)
    a = mean - b
    c = mean * rise
    # The sign of b selects the form of the root that adds numbers of the same sign. The paper's form alone
    # loses half of the digits where b < 0.
    root = tf.sqrt(tf.maximum(tf.square(b) + 4.0 * a * c, _TINY))
    total = tf.abs(b) + root
    run = tf.where(b < 0, total / (2.0 * tf.where(b < 0, a, tf.ones_like(a))), 2.0 * c / total)
    return tf.clip_by_value(run, 0.0, 1.0)
