"""Two-dimensional toy densities in numpy: seeded samples, exact log densities and entropies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, NDArray[np.int64]]]

MOON_NOISE = 0.05
RING_RADII = np.array([0.75, 1.5, 2.25, 3.0])
RING_NOISE = 0.08
GAUSSIAN_RADIUS = 2.0 * np.sqrt(2.0)
GAUSSIAN_NOISE = 0.5 / np.sqrt(2.0)
PINWHEEL_ARMS = 5
PINWHEEL_RADIAL, PINWHEEL_TANGENTIAL, PINWHEEL_RATE = 0.3, 0.1, 0.25

_LOG_2PI = float(np.log(2.0 * np.pi))


def sample(name: str, rows: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draws rows of a toy density.

    Args:
        name: One of `NAMES`.
        rows: Number of rows.
        seed: Seed of numpy's PCG64; the same seed gives the same rows.

    Returns:
        The rows, float32 `[rows, 2]`, and the part of the density that each came from (moon, arm,
        ring or mode), int64 `[rows]`; the checkerboard's parts are its eight squares.

    Raises:
        ValueError: If the name is not one of `NAMES`.

    Example:
        >>> x, part = sample("two_moons", 5, seed=1)
        >>> x.shape, part.shape
        ((5, 2), (5,))
    """
    x, part = _toy(name).draw(np.random.default_rng(seed), rows)
    return x.astype(np.float32), part


def log_density(name: str, x: ArrayLike) -> Floats:
    """The exact log density of a toy, in nats, accurate to 1e-6 or better wherever samples fall.

    `checkerboard`, `rings` and `eight_gaussians` are closed forms. `two_moons` integrates over
    the arc by Gauss-Legendre quadrature; `pinwheel` changes variables, finding every
    point of the unwarped Gaussian that maps to `x`.

    Args:
        name: One of `NAMES`.
        x: Points, `[..., 2]`.

    Returns:
        float64 `[...]`; minus infinity outside the checkerboard's squares.

    Raises:
        ValueError: If the name is not one of `NAMES`, or `x` is not `[..., 2]`.

    Example:
        >>> bool(np.isclose(log_density("checkerboard", [0.5, 0.5]), -np.log(32.0)))
        True
    """
    toy = _toy(name)
    points = np.asarray(x, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise ValueError(f"x of a toy density must have the shape [..., 2]; got {points.shape}")
    flat = points.reshape(-1, 2)
    # Blocks bound the memory: the quadratures need hundreds of numbers for each point.
    blocks = [toy.log_density(flat[i : i + 4096]) for i in range(0, len(flat), 4096)]
    return np.concatenate([*blocks, np.empty(0)]).reshape(points.shape[:-1])


@lru_cache
def entropy(name: str) -> float:
    """The differential entropy of a toy density, in nats: the lowest mean NLL a model can reach.

    The checkerboard has a closed form, `ln 32`. For the others -∫ p ln p is computed by the trapezoid rule,
    which converges exponentially for such smooth densities; the error is below 2e-6.

    Args:
        name: One of `NAMES`.

    Returns:
        The entropy in nats.

    Raises:
        ValueError: If the name is not one of `NAMES`.

    Example:
        >>> round(entropy("checkerboard"), 4)
        3.4657
    """
    toy = _toy(name)
    if toy.entropy is not None:
        return toy.entropy
    ((x0, x1), (y0, y1)), step = toy.box, toy.step
    xs, ys = np.arange(x0, x1, step), np.arange(y0, y1, step)
    log_p = log_density(name, np.stack(np.meshgrid(xs, ys), axis=-1))
    return float(-np.sum(np.exp(log_p) * np.where(np.isneginf(log_p), 0.0, log_p)) * step * step)


def _normal_log_density(x: Floats, mean: Floats | float, scale: float) -> Floats:
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * _LOG_2PI


def _log_sum_exp(terms: Floats) -> Floats:
    """Log-sum-exp over the last axis, without a warning where all terms are minus infinity."""
    top = terms.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms - top).sum(axis=-1)) + top[..., 0]


def _draw_two_moons(rng: np.random.Generator, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    moon = rng.integers(0, 2, rows)
    t = np.pi * rng.random(rows)
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    x = np.where(moon[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return x + MOON_NOISE * rng.standard_normal((rows, 2)), moon


def _two_moons_log_density(x: Floats) -> Floats:
    # The lower moon is the upper one turned by half a circle about (0.5, 0.25).
    moons = [_upper_moon_log_density(x), _upper_moon_log_density(np.array([1.0, 0.5]) - x)]
    return _log_sum_exp(np.stack(moons, axis=-1)) - np.log(2.0)


def _upper_moon_log_density(x: Floats) -> Floats:
    """Log of 1/π ∫ N(x; (cos t, sin t), σ²I) dt over [0, π].

    In polar coordinates (r, θ) of x it is a Gaussian in r - 1 times the integral of
    exp(-κ (1 - cos(t - θ))), κ = r / σ². Each half of the arc is integrated over the window about
    its own peak outside which the integrand has fallen by a factor e^-45.
    """
    variance = MOON_NOISE**2
    r, theta = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
    kappa = r / variance
    reach = np.arccos(np.clip(1.0 - 45.0 / np.maximum(kappa, 1e-12), -1.0, 1.0))
    nodes, weights = np.polynomial.legendre.leggauss(96)
    terms = []
    for low, high in ((0.0, 0.5 * np.pi), (0.5 * np.pi, np.pi)):
        middle = 0.5 * (low + high)
        offset = (theta - middle + np.pi) % (2.0 * np.pi) - np.pi
        peak = middle + np.clip(offset, low - middle, high - middle)
        start, stop = np.maximum(low, peak - reach), np.minimum(high, peak + reach)
        half = 0.5 * (stop - start)
        t = (start + half)[:, None] + half[:, None] * nodes
        terms.append(-kappa[:, None] * (1.0 - np.cos(t - theta[:, None])) + np.log(weights * half[:, None]))
    log_integral = _log_sum_exp(np.concatenate(terms, axis=1))
    return log_integral - 0.5 * (r - 1.0) ** 2 / variance - np.log(2.0 * np.pi**2 * variance)


def _draw_pinwheel(rng: np.random.Generator, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    arm = rng.integers(0, PINWHEEL_ARMS, rows)
    z = rng.standard_normal((rows, 2))
    u, v = 1.0 + PINWHEEL_RADIAL * z[:, 0], PINWHEEL_TANGENTIAL * z[:, 1]
    turn = 2.0 * np.pi * arm / PINWHEEL_ARMS + PINWHEEL_RATE * np.exp(u)
    c, s = np.cos(turn), np.sin(turn)
    return 2.0 * np.stack([u * c + v * s, v * c - u * s], axis=1), arm


def _pinwheel_log_density(x: Floats) -> Floats:
    """Change of variables through x = 2 R(-turn(u)) (u, v), summed over arms and over roots.

    The turn keeps the radius, so with (u, v) = ρ (cos φ, sin φ) the only unknown is φ, and
    g(φ) = φ - rate exp(ρ cos φ) must equal the angle of x up to an arm's angle. g gains exactly
    2π round the circle, so each arm has a root, and three where g folds back; we bracket
    all of them on a grid and bisect. The Jacobian's determinant is 4 (1 + rate exp(u) v).
    """
    rho = 0.5 * np.hypot(x[:, 0], x[:, 1])
    theta = np.arctan2(x[:, 1], x[:, 0])
    target = theta[:, None] + 2.0 * np.pi * np.arange(PINWHEEL_ARMS) / PINWHEEL_ARMS

    grid = np.linspace(-np.pi, np.pi, 129)
    g = grid - PINWHEEL_RATE * np.exp(rho[:, None] * np.cos(grid))
    # The target is known up to whole turns: a cell holds a root where the count of turns changes.
    turns = np.floor((g[:, None, :] - target[:, :, None]) / (2.0 * np.pi))
    point, arm, cell = np.nonzero(turns[..., 1:] != turns[..., :-1])
    whole = np.maximum(turns[point, arm, cell], turns[point, arm, cell + 1])
    goal, radius = target[point, arm] + 2.0 * np.pi * whole, rho[point]

    low, high = grid[cell], grid[cell + 1]
    rising = turns[point, arm, cell + 1] > turns[point, arm, cell]
    for _ in range(42):
        phi = 0.5 * (low + high)
        below = phi - PINWHEEL_RATE * np.exp(radius * np.cos(phi)) < goal
        low, high = np.where(below == rising, phi, low), np.where(below == rising, high, phi)

    phi = 0.5 * (low + high)
    u, v = radius * np.cos(phi), radius * np.sin(phi)
    log_p = _normal_log_density(u, 1.0, PINWHEEL_RADIAL)
    log_p += _normal_log_density(v, 0.0, PINWHEEL_TANGENTIAL)
    log_p -= np.log(np.abs(4.0 * (1.0 + PINWHEEL_RATE * np.exp(u) * v)))
    total = np.full(len(x), -np.inf)
    np.logaddexp.at(total, point, log_p - np.log(PINWHEEL_ARMS))
    return total


def _draw_rings(rng: np.random.Generator, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    ring = rng.integers(0, len(RING_RADII), rows)
    angle = 2.0 * np.pi * rng.random(rows)
    r = RING_RADII[ring] + RING_NOISE * rng.standard_normal(rows)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), ring


def _rings_log_density(x: Floats) -> Floats:
    r = np.hypot(x[:, 0], x[:, 1])[:, None]
    # A negative radius maps to the opposite side, hence the second, mirrored term.
    terms = [_normal_log_density(s * r, RING_RADII, RING_NOISE) for s in (1.0, -1.0)]
    polar = np.log(2.0 * np.pi * np.maximum(r[:, 0], np.finfo(np.float64).tiny))
    return _log_sum_exp(np.concatenate(terms, axis=1)) - polar - np.log(len(RING_RADII))


def _draw_checkerboard(rng: np.random.Generator, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    u = 4.0 * rng.random(rows) - 2.0
    lower = rng.integers(0, 2, rows)
    column = np.floor(u).astype(np.int64)
    v = rng.random(rows) - 2.0 * lower + column % 2
    return 2.0 * np.stack([u, v], axis=1), 2 * (column + 2) + lower


def _checkerboard_log_density(x: Floats) -> Floats:
    square = np.floor(x / 2.0)
    inside = np.all((square >= -2.0) & (square < 2.0), axis=1) & (square.sum(axis=1) % 2 == 0)
    return np.where(inside, -np.log(32.0), -np.inf)


def _gaussian_means() -> Floats:
    angle = 0.25 * np.pi * np.arange(8)
    return GAUSSIAN_RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _draw_eight_gaussians(rng: np.random.Generator, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    mode = rng.integers(0, 8, rows)
    return _gaussian_means()[mode] + GAUSSIAN_NOISE * rng.standard_normal((rows, 2)), mode


def _eight_gaussians_log_density(x: Floats) -> Floats:
    parts = _normal_log_density(x[:, None, :], _gaussian_means(), GAUSSIAN_NOISE).sum(axis=-1)
    return _log_sum_exp(parts) - np.log(8.0)


@dataclass(frozen=True)
class _Toy:
    """One density: how to draw it, its log density, and the grid that integrates it."""

    draw: Draw
    log_density: Callable[[Floats], Floats]
    box: tuple[tuple[float, float], tuple[float, float]]
    step: float
    entropy: float | None = None


_TOYS = {
    "two_moons": _Toy(_draw_two_moons, _two_moons_log_density, ((-1.5, 2.5), (-1.0, 1.5)), MOON_NOISE / 2),
    "pinwheel": _Toy(_draw_pinwheel, _pinwheel_log_density, ((-6.0, 6.0), (-6.0, 6.0)), 0.05),
    "rings": _Toy(_draw_rings, _rings_log_density, ((-4.0, 4.0), (-4.0, 4.0)), RING_NOISE / 2.5),
    "checkerboard": _Toy(
        _draw_checkerboard,
        _checkerboard_log_density,
        ((-4.0, 4.0), (-4.0, 4.0)),
        0.125,
        entropy=float(np.log(32.0)),
    ),
    "eight_gaussians": _Toy(
        _draw_eight_gaussians, _eight_gaussians_log_density, ((-6.0, 6.0), (-6.0, 6.0)), 0.1
    ),
}
NAMES = tuple(_TOYS)


def _toy(name: str) -> _Toy:
    if name not in _TOYS:
        raise ValueError(f"unknown toy density {name!r}; choose one of {', '.join(NAMES)}")
    return _TOYS[name]
