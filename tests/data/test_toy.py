"""The toy densities: they integrate to 1, match their samples, and have the right entropies."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import logsumexp

from flowzoo.data import toy

BOX = {
    "two_moons": ((-1.5, 2.5), (-1.0, 1.5)),
    "pinwheel": ((-6.0, 6.0), (-6.0, 6.0)),
    "rings": ((-4.0, 4.0), (-4.0, 4.0)),
    "checkerboard": ((-4.0, 4.0), (-4.0, 4.0)),
    "eight_gaussians": ((-5.0, 5.0), (-5.0, 5.0)),
}
STEP = {"two_moons": 0.03, "pinwheel": 0.08, "rings": 0.03, "checkerboard": 0.1}

FINE = {"two_moons": 10, "rings": 8}  # Midpoints of a histogram's cell along each axis.

every_toy = pytest.mark.parametrize("name", toy.NAMES)


def midpoints(name: str, step: float) -> np.ndarray:
    (x0, x1), (y0, y1) = BOX[name]
    xs, ys = np.arange(x0, x1, step) + step / 2, np.arange(y0, y1, step) + step / 2
    return np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1)


@every_toy
def test_the_density_integrates_to_one(name):
    step = STEP.get(name, 0.1)
    total = np.exp(toy.log_density(name, midpoints(name, step))).sum() * step**2
    assert total == pytest.approx(1.0, abs=1e-5)


@every_toy
def test_the_samples_follow_the_density(name):
    rows, step, fine = 20_000, 0.25, FINE.get(name, 4)
    x, _ = toy.sample(name, rows, seed=5)
    density = np.exp(toy.log_density(name, midpoints(name, step / fine)))
    (x0, x1), (y0, y1) = BOX[name]
    cells = round((x1 - x0) / step), round((y1 - y0) / step)
    mass = density.reshape(cells[0], fine, cells[1], fine).sum((1, 3)) * (step / fine) ** 2
    seen, _, _ = np.histogram2d(*x.T, bins=cells, range=BOX[name])
    often = mass * rows > 8
    chi_square = np.sum((seen - mass * rows)[often] ** 2 / (mass * rows)[often])
    assert stats.chi2.sf(chi_square, often.sum()) > 1e-4


@every_toy
def test_the_entropy_is_the_mean_nll_of_samples(name):
    x, _ = toy.sample(name, 20_000, seed=7)
    nll = -toy.log_density(name, x)
    assert np.all(np.isfinite(nll))
    assert toy.entropy(name) == pytest.approx(nll.mean(), abs=5 * nll.std() / len(nll) ** 0.5 + 1e-9)


@pytest.mark.parametrize(
    ("name", "entropy"),
    [
        ("two_moons", 0.289233738),
        ("pinwheel", 2.317788),
        ("rings", 2.622154615),
        ("checkerboard", np.log(32.0)),
        ("eight_gaussians", 2.831578361),
    ],
)
def test_the_entropies_are_those_that_benchmarks_use(name, entropy):
    assert toy.entropy(name) == pytest.approx(entropy, abs=2e-6)


@pytest.mark.parametrize(
    "point",
    [(0.0, 1.0), (0.3, 0.2), (1.0, -0.5), (-1.02, -0.1), (0.0, -1.0), (0.0, 0.0), (4.0, 3.0)],
)
def test_two_moons_agrees_with_adaptive_quadrature(point):
    x, y = point

    def exponent(t, top=0.0):
        upper = (x - np.cos(t)) ** 2 + (y - np.sin(t)) ** 2
        lower = (x - 1.0 + np.cos(t)) ** 2 + (y - 0.5 + np.sin(t)) ** 2
        return np.logaddexp(-upper / 0.005, -lower / 0.005) - top

    grid = np.linspace(0.0, np.pi, 201)
    top = exponent(grid).max()
    pieces = itertools.pairwise(grid)
    integral = sum(
        integrate.quad(lambda t: np.exp(exponent(t, top)), a, b, epsabs=0, epsrel=1e-9)[0]
        for a, b in pieces
        if exponent(np.array([a, b]), top).max() > -60
    )
    expected = np.log(integral / (2 * np.pi) / (2 * np.pi * 0.05**2)) + top
    assert toy.log_density("two_moons", point) == pytest.approx(expected, abs=1e-6)


def test_eight_gaussians_is_a_mixture():
    x, _ = toy.sample("eight_gaussians", 50, seed=1)
    angle = np.arange(8) * np.pi / 4
    modes = [
        stats.multivariate_normal(8**0.5 * np.array([np.cos(a), np.sin(a)]), np.eye(2) / 8) for a in angle
    ]
    expected = logsumexp([m.logpdf(x) for m in modes], axis=0) - np.log(8)
    np.testing.assert_allclose(toy.log_density("eight_gaussians", x), expected, atol=1e-10)


def test_checkerboard_is_zero_between_its_squares():
    centres = np.stack(np.meshgrid(np.arange(-5.0, 6.0, 2.0), np.arange(-5.0, 6.0, 2.0)), -1)
    dark = np.isfinite(toy.log_density("checkerboard", centres))
    assert dark.sum() == 8
    assert not dark[0].any()
    assert not dark[:, -1].any()


@every_toy
def test_parts_label_regions(name):
    x, part = toy.sample(name, 4000, seed=2)
    assert x.dtype == np.float32
    assert part.dtype == np.int64
    parts = np.unique(part)
    assert parts.tolist() == list(range(len(parts)))
    within = np.mean([x[part == p].std(axis=0).mean() for p in parts])
    if name != "rings":
        assert within < 0.9 * x.std(axis=0).mean()


@every_toy
def test_seeds_decide_the_rows(name):
    first, again, other = (toy.sample(name, 100, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_numpys_random_stream_is_that_of_the_published_numbers():
    x, moon = toy.sample("two_moons", 2, seed=0)
    np.testing.assert_allclose(x, [[0.343431, -0.276451], [0.026353, 0.436833]], atol=1e-5)
    assert moon.tolist() == [1, 1]


@every_toy
def test_shapes(name):
    assert toy.log_density(name, [0.1, 0.2]).shape == ()
    assert toy.log_density(name, np.zeros((3, 4, 2))).shape == (3, 4)
    assert toy.log_density(name, np.zeros((0, 2))).shape == (0,)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="two_moons"):
        toy.sample("three_moons", 4)
    with pytest.raises(ValueError, match=r"\[\.\.\., 2\]"):
        toy.log_density("rings", [1.0, 2.0, 3.0])
