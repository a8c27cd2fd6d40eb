"""Splits by hash, and missing values."""

import numpy as np
import pytest

from flowzoo.data.split import RowFilter, check_split, column_means, row_fractions


def filtered(x, split="all", missing="error", columns=("a", "b"), chunk=50):
    keep = RowFilter("rows.csv", split, missing, 0.1, 0.2, columns)
    chunks = ((x[i : i + chunk], None) for i in range(0, len(x), chunk))
    return np.concatenate([rows for rows, _ in keep(chunks)])


def test_fractions_are_stable_across_versions():
    x = np.array([[1.0, 2.0, 3.0], [0.0, -1.5, 1e9]], np.float32)
    np.testing.assert_allclose(row_fractions(x), [0.144432675888984, 0.029690545417176972], atol=1e-12)
    images = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)
    np.testing.assert_allclose(row_fractions(images), [0.9149810237434529], atol=1e-12)


def test_fractions_depend_only_on_the_row():
    x = np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(row_fractions(x)[order], row_fractions(x[order]))
    np.testing.assert_array_equal(row_fractions(x[3:4]), row_fractions(x)[3:4])
    np.testing.assert_array_equal(row_fractions(np.asfortranarray(x)), row_fractions(x))
    zero = np.array([[0.0, 1.0], [-0.0, 1.0]], np.float32)
    assert len(np.unique(row_fractions(zero))) == 1


@pytest.mark.parametrize("columns", [1, 2, 7])
@pytest.mark.parametrize("grid", [1.0, 1 / 64])
def test_fractions_are_uniform_even_on_regular_rows(columns, grid):
    x = (np.arange(4000 * columns).reshape(-1, columns) * grid).astype(np.float32)
    counts, _ = np.histogram(row_fractions(x), bins=10, range=(0, 1))
    assert np.abs(counts - 400).max() < 5 * 400**0.5


def test_splits_are_a_partition_of_the_stated_sizes():
    x = np.random.default_rng(0).standard_normal((20_000, 2)).astype(np.float32)
    parts = {split: filtered(x, split) for split in ("train", "validation", "test")}
    assert len(parts["train"]) == pytest.approx(14_000, rel=0.03)
    assert len(parts["validation"]) == pytest.approx(2_000, rel=0.1)
    assert len(parts["test"]) == pytest.approx(4_000, rel=0.1)
    together = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(x, axis=0))


def test_equal_rows_share_a_split():
    x = np.random.default_rng(0).integers(0, 6, (2000, 2)).astype(np.float32)
    train, test = ({tuple(r) for r in filtered(x, split).tolist()} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test


def test_missing_values_are_counted_over_the_whole_file():
    x = np.ones((200, 2), np.float32)
    x[[3, 70, 199], 1] = np.nan
    x[70, 0] = np.inf
    with pytest.raises(ValueError, match=r"3 of 200 rows .* 'a' \(1\), 'b' \(3\).*missing='drop'"):
        filtered(x)
    assert len(filtered(x, missing="drop")) == 197


def test_a_chunk_without_a_whole_row_passes():
    x = np.full((100, 2), np.nan, np.float32)
    x[:50] = np.arange(100).reshape(50, 2)
    assert len(filtered(x, "train", missing="drop")) > 20


def test_many_bad_columns_are_summarized():
    x = np.full((2, 9), np.nan, np.float32)
    with pytest.raises(ValueError, match="and 4 more columns"):
        filtered(x, columns=tuple("abcdefghi"))


def chunked(x, chunk=50):
    return ((x[i : i + chunk], None) for i in range(0, len(x), chunk))


def test_means_ignore_missing_values(rng):
    x = rng.normal(1e6, 1.0, (1000, 2)).astype(np.float32)
    x[rng.random(1000) < 0.3, 1] = np.nan
    means = column_means(chunked(x), ("a", "b"), "rows.csv")
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, np.nanmean(x.astype(np.float64), axis=0), rtol=1e-7)
    x[:, 0] = np.nan
    with pytest.raises(ValueError, match=r"rows.csv: column 'a' has no value .*columns="):
        column_means(chunked(x), ("a", "b"), "rows.csv")


def test_missing_values_are_filled_and_infinite_ones_refused():
    x = np.arange(400, dtype=np.float32).reshape(200, 2)
    x[[3, 70], 1] = np.nan
    keep = RowFilter("rows.csv", "all", "mean", 0.1, 0.2, ("a", "b"), np.array([7.0, 8.0], np.float32))
    found = np.concatenate([rows for rows, _ in keep(chunked(x))])
    np.testing.assert_array_equal(found[[3, 70]], [[6, 8], [140, 8]])
    assert found.dtype == np.float32
    assert np.isnan(x[3, 1]), "the user's own array must not change"
    x[5, 0] = np.inf
    with pytest.raises(ValueError, match=r"1 of 200 rows have infinite values in column 'a' \(1\)"):
        list(keep(chunked(x)))


def test_the_split_of_a_row_depends_neither_on_filling_nor_on_the_bits_of_nan():
    x = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    x[::7, 1] = np.nan
    other = x.copy()
    other.view(np.uint32)[::7, 1] = 0xFFC00001
    np.testing.assert_array_equal(row_fractions(x), row_fractions(other))
    whole = set(filtered(x, "test", "drop")[:, 0])
    assert whole < set(filtered(x, "test", "mean")[:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("valid", 0.1, 0.1), "'validation'"),
        (("train", 1.0, 0.1), "validation_fraction"),
        (("train", 0.1, -0.1), "test_fraction"),
        (("train", 0.5, 0.5), "no rows for 'train'"),
    ],
)
def test_wrong_splits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_split(*arguments)


def test_none_is_all():
    assert check_split(None, 0.1, 0.1) == "all"


def test_the_mean_of_whole_numbers_is_whole():
    chunks = iter(
        [(np.array([[1.0, 0.5], [2.0, 1.0]]), None), (np.array([[np.nan, 2.0], [2.0, np.nan]]), None)]
    )
    np.testing.assert_allclose(column_means(chunks, ("a", "b"), "rows"), [2.0, 3.5 / 3])
