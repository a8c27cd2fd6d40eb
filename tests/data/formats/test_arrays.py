"""NumPy files."""

import numpy as np
import pytest

from flowzoo.data.formats.arrays import read_npy, read_npz


def save(path, array):
    np.save(path, array, allow_pickle=True)
    return path


def read(source):
    chunks = list(source.chunks(None))
    labels = [y for _, y in chunks if y is not None]
    return np.concatenate([x for x, _ in chunks]), np.concatenate(labels) if labels else None


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", "int32", "uint8", "bool"])
def test_tables_of_any_real_type_become_float32(tmp_path, dtype):
    array = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    source = read_npy(save(tmp_path / "a.npy", array), None, False)
    x, _ = read(source)
    assert (source.event_shape, source.dtype, source.rows) == ((2,), np.float32, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, array.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "dtype", "event_shape", "expected"),
    [
        ((5,), "float32", (1,), "float32"),
        ((5, 3), "uint8", (3,), "float32"),
        ((5, 4, 4, 1), "uint8", (4, 4, 1), "uint8"),
        ((5, 4, 4, 3), "float64", (4, 4, 3), "float32"),
        ((0, 3), "float32", (3,), "float32"),
    ],
)
def test_shapes(tmp_path, shape, dtype, event_shape, expected):
    source = read_npy(save(tmp_path / "a.npy", np.ones(shape, dtype)), None, False)
    assert (source.event_shape, source.dtype.name, source.rows) == (event_shape, expected, shape[0])
    for x, _ in source.chunks(None):
        assert x.shape == (shape[0], *event_shape)
        assert x.dtype == expected


def test_columns_and_fortran_order(tmp_path, table):
    path = save(tmp_path / "a.npy", np.asfortranarray(table))
    source = read_npy(path, [2, "0"], False)
    assert source.columns == ("2", "0")
    np.testing.assert_array_equal(read(source)[0], table[:, [2, 0]])


def test_chunks_are_bounded_and_visit_every_row_in_any_order(tmp_path, monkeypatch, table):
    monkeypatch.setattr("flowzoo.data.source.CHUNK_BYTES", 7 * 12)
    source = read_npy(save(tmp_path / "a.npy", table), None, False)
    assert max(len(x) for x, _ in source.chunks(None)) == 7
    np.testing.assert_array_equal(read(source)[0], table)
    shuffled = np.concatenate([x for x, _ in source.chunks(np.random.default_rng(0))])
    assert not np.array_equal(shuffled, table)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(table, axis=0))


def test_numbers_that_float32_cannot_hold_become_infinite(tmp_path):
    x, _ = read(read_npy(save(tmp_path / "a.npy", np.array([[1e300, 1.0]])), None, False))
    assert np.isinf(x[0, 0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, "a"]], dtype=object), "Python objects"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.ones((2, 2), complex), "complex128"),
        (np.ones((2, 2), dtype=[("a", float)]), "real numbers"),
        (np.ones((2, 28, 28), np.uint8), r"images\[\.\.\., None\]"),
        (np.float32(3.0), r"shape \(\)"),
    ],
)
def test_arrays_that_do_not_hold_rows_are_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        read_npy(save(tmp_path / "a.npy", array), None, False)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"not numpy at all"])
@pytest.mark.parametrize("reader", [read_npy, read_npz])
def test_damaged_files_are_refused_by_name(tmp_path, content, reader):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.npz"):
        reader(path, None, False)


def test_a_truncated_npy_is_refused(tmp_path, table):
    path = save(tmp_path / "a.npy", table)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_npy(path, None, False)


def test_images_have_no_columns_and_npy_files_no_labels(tmp_path):
    path = save(tmp_path / "a.npy", np.ones((2, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="columns= is for tables"):
        read_npy(path, [0], False)
    with pytest.raises(ValueError, match=r"np\.savez"):
        read_npy(path, None, True)


@pytest.mark.parametrize(
    ("keys", "columns", "expected"),
    [
        (["rows"], None, "rows"),
        (["X", "y"], None, "X"),
        (["rows", "y"], None, "rows"),
        (["x", "other"], None, "x"),
        (["train", "test"], "test", "test"),
        (["train", "test"], ["test"], "test"),  # as --columns passes it
    ],
)
def test_the_array_of_an_archive(tmp_path, table, keys, columns, expected):
    arrays = {key: table + i for i, key in enumerate(keys)}
    np.savez(tmp_path / "a.npz", **arrays)
    x, _ = read(read_npz(tmp_path / "a.npz", columns, False))
    np.testing.assert_array_equal(x, arrays[expected])


@pytest.mark.parametrize("save_archive", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_archive_is_read_in_chunks(tmp_path, monkeypatch, table, save_archive, order):
    monkeypatch.setattr("flowzoo.data.source.CHUNK_BYTES", 7 * 8)
    save_archive(tmp_path / "a.npz", X=np.array(table, "float64", order=order), y=np.arange(300))
    source = read_npz(tmp_path / "a.npz", [2, 0], True)
    assert (source.event_shape, source.rows, source.columns) == ((2,), 300, ("2", "0"))
    for _ in range(2):
        assert max(len(x) for x, _ in source.chunks(None)) == 7
        x, labels = read(source)
        np.testing.assert_array_equal(x, table[:, [2, 0]])
        np.testing.assert_array_equal(labels, np.arange(300))


def test_an_archive_that_is_damaged_further_down_is_refused_by_name(tmp_path, table):
    path = tmp_path / "a.npz"
    np.savez(path, X=table)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is not a readable .npz archive"):
        read(read_npz(path, None, False))


@pytest.mark.parametrize(
    ("labels", "y"),
    [(True, np.array([0, 1, 2])), ("y", np.array([0.0, 1.0, 2.0])), ("group", np.array([2, 2, 2]))],
)
def test_labels_of_an_archive(tmp_path, labels, y):
    key = labels if isinstance(labels, str) else "y"
    np.savez(tmp_path / "a.npz", X=np.eye(3), **{key: y})
    x, read_labels = read(read_npz(tmp_path / "a.npz", [0, 1], labels))
    assert x.shape == (3, 2)
    assert read_labels.dtype == np.int64
    np.testing.assert_array_equal(read_labels, y)


@pytest.mark.parametrize(
    ("arrays", "columns", "labels", "message"),
    [
        ({"a": np.eye(3), "b": np.eye(3)}, None, False, "no array called.*columns='a'.*'a', 'b'"),
        ({}, None, False, "The arrays of the file: none"),
        ({"X": np.eye(3)}, None, True, "no labels"),
        ({"X": np.eye(3), "group": np.ones(3)}, None, "grup", "Did you mean 'group'"),
        ({"X": np.eye(3), "y": np.ones(2)}, None, True, r"labels of shape \(2,\)"),
        ({"X": np.eye(3), "y": np.array([0.5, 1, 2])}, None, True, "integers"),
        ({"X": np.array([None, 1])}, None, False, "Python objects"),
        ({"X": np.eye(3)}, [5], False, "no column 5"),
    ],
)
def test_archives_without_the_requested_arrays_are_refused(tmp_path, arrays, columns, labels, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "a.npz", columns, labels)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_damaged_file_is_read_right_or_named(tmp_path, rng, ending):
    """A hundred damaged files of each kind end in rows or in a ValueError that names the file."""
    from flowzoo.data import load

    whole = tmp_path / f"whole.{ending}"
    x = rng.normal(size=(40, 3)).astype("float32")
    np.save(whole, x) if ending == "npy" else np.savez_compressed(whole, X=x)
    content = whole.read_bytes()
    for trial in range(100):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(damaged), 300), 1 + trial % 4):
            damaged[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"damaged{trial}.{ending}"
        path.write_bytes(damaged[: len(damaged) - (trial % 5 == 0) * 20])
        message = path.name
        try:
            load(path, "all", batch_size=8)
        except ValueError as error:
            message = str(error)
        assert path.name in message, trial
