import numpy as np
import pytest
import tensorflow as tf

from flowzoo import random

# Key, counter, output: the known answers of Random123 for threefry2x32 with 20 rounds.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "wanted"), KNOWN_ANSWERS)
@pytest.mark.parametrize("make", [lambda w: np.full(1, w, np.uint32), lambda w: tf.constant([w], tf.uint32)])
def test_threefry_gives_the_known_answers(make, key, counter, wanted):
    words = random.threefry2x32(tuple(map(make, key)), tuple(map(make, counter)))
    assert tuple(int(word[0]) for word in words) == wanted


def test_threefry_is_the_same_under_xla():
    key, counter = (tf.range(8, dtype=tf.int64), tf.range(8, dtype=tf.int64) * 12345)
    key, counter = tf.cast(key, tf.uint32), tf.cast(counter, tf.uint32)
    compiled = tf.function(random.threefry2x32, jit_compile=True)
    for one, other in zip(
        compiled((key, key), (counter, counter)),
        random.threefry2x32((key, key), (counter, counter)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1, -5])
def test_row_seeds_are_distinct_nonnegative_int64(seed):
    seeds = random.row_seeds(seed, 10_000)
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert len(set(seeds.tolist())) == 10_000


def test_row_seeds_of_more_rows_begin_with_those_of_fewer():
    np.testing.assert_array_equal(random.row_seeds(3, 100)[:7], random.row_seeds(3, 7))


def test_row_seeds_of_neighbouring_seeds_have_nothing_in_common():
    assert not set(random.row_seeds(0, 1000).tolist()) & set(random.row_seeds(1, 1000).tolist())


def test_row_seeds_are_frozen():
    # Published samples depend on them: they must never change.
    assert random.row_seeds(0, 2).tolist() == [2249019740757725818, 7802047841946049661]


def test_permutation_is_frozen_and_complete():
    assert random.permutation(0, 6) == [2, 0, 3, 5, 4, 1]
    assert sorted(random.permutation(5, 50)) == list(range(50))
    assert random.permutation(0, 50) != random.permutation(1, 50)


@pytest.mark.parametrize("noise", [random.normal, random.uniform])
def test_noise_of_a_row_depends_on_its_seed_alone(noise):
    seeds = tf.constant([5, 2**40 + 5, 5, 7], tf.int64)
    rows = noise(seeds, 3).numpy()
    np.testing.assert_array_equal(rows[0], rows[2])
    # Logarithm and cosine round differently in a vector instruction and in its remainder.
    tolerance = 0 if noise is random.uniform else 1e-6
    np.testing.assert_allclose(rows[1:2], noise(seeds[1:2], 3), rtol=0, atol=tolerance)
    assert not np.any(rows[0] == rows[1]), "the upper half of a seed does not count"


@pytest.mark.parametrize("noise", [random.normal, random.uniform])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_noise_has_the_size_asked_for(noise, size):
    assert noise(tf.constant(random.row_seeds(0, 4)), size).shape == (4, size)
    assert noise(tf.zeros([0], tf.int64), size).shape == (0, size)


@pytest.mark.parametrize("noise", [random.normal, random.uniform])
def test_streams_of_one_seed_differ(noise):
    seeds = tf.constant([1, 2], tf.int64)
    assert not np.any(noise(seeds, 8, stream=0).numpy() == noise(seeds, 8, stream=1).numpy())


@pytest.mark.parametrize("noise", [random.normal, random.uniform])
def test_noise_is_the_same_in_graph_and_under_xla(noise):
    seeds = tf.constant(random.row_seeds(9, 64))
    eager = noise(seeds, 5).numpy()
    graph = tf.function(noise)(seeds, 5).numpy()
    compiled = tf.function(noise, jit_compile=True)(seeds, 5).numpy()
    np.testing.assert_array_equal(graph, eager)
    # XLA has its own logarithm and sine; the random bits are equal.
    np.testing.assert_allclose(compiled, eager, rtol=0, atol=0 if noise is random.uniform else 2e-6)


def test_uniform_noise_is_uniform():
    u = random.uniform(tf.constant(random.row_seeds(1, 20_000)), 4).numpy().astype(np.float64)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    np.testing.assert_allclose(u.mean(0), 0.5, atol=4 * np.sqrt(1 / 12 / 20_000))
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    expected = u.size / 50
    # Chi-square with 49 degrees of freedom: 86 is its 99.9 % quantile.
    assert np.sum((counts - expected) ** 2 / expected) < 86


def test_normal_noise_is_standard_normal_and_uncorrelated():
    z = random.normal(tf.constant(random.row_seeds(2, 40_000)), 4).numpy().astype(np.float64)
    error = 4 / np.sqrt(40_000)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=error)
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=1.5 * error)
    np.testing.assert_allclose((z**3).mean(0), 0.0, atol=error * np.sqrt(15))
    np.testing.assert_allclose((z**4).mean(0), 3.0, atol=error * np.sqrt(96))


def test_the_rarest_bits_give_finite_noise(monkeypatch):
    """Random tests never hit words of all zeros or all ones, where a logarithm would be infinite."""
    edges = tf.constant([[0, 0xFFFFFFFF, 0, 0xFFFFFFFF]], tf.uint32)
    monkeypatch.setattr(random, "_words", lambda *_: (edges, tf.reverse(edges, [1])))
    z = random.normal(tf.zeros([1], tf.int64), 8).numpy()
    assert np.isfinite(z).all()
    # The largest Box-Muller value with 24 bits: sqrt(2 ln 2**24).
    assert 5.7 < np.abs(z).max() < 5.8
    u = random.uniform(tf.zeros([1], tf.int64), 8).numpy()
    assert u.min() == 0.0
    assert u.max() == 1.0 - 2.0**-24
