"""CSV and Parquet files."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowzoo.data.formats.tables import read_csv, read_parquet


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write_text


def read(source):
    chunks = list(source.chunks(None))
    labels = [y for _, y in chunks if y is not None]
    return np.concatenate([x for x, _ in chunks]), np.concatenate(labels) if labels else None


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,2.5\n3,4\n", ("a", "b")),
        ("1,2.5\n3,4\n", ("f0", "f1")),
        ("a;b\n1;2.5\n3;4\n", ("a", "b")),
        ('"a"\t"b"\r\n1\t2.5\r\n3\t4\r\n', ("a", "b")),
        ("\ufeffa,b\n1,2.5\n3,4", ("a", "b")),
        ("\na,b\n1,2.5\n3,4", ("a", "b")),
        ("1e0,+2.5\n3,4e0\n", ("f0", "f1")),
    ],
)
def test_headers_and_delimiters_are_found(write, text, columns):
    source = read_csv(write(text), None, False)
    assert source.columns == columns
    np.testing.assert_array_equal(read(source)[0], [[1, 2.5], [3, 4]])


def test_gzip(write):
    np.testing.assert_array_equal(read(read_csv(write("a,b\n1,2\n", "a.csv.gz"), None, False))[0], [[1, 2]])


def test_one_column_without_a_header(write):
    np.testing.assert_array_equal(read(read_csv(write("1\n2\n"), None, False))[0], [[1], [2]])


def test_columns_of_every_numeric_type_and_missing_values(write):
    source = read_csv(write("i,f,b,m,e\n1,1.5,true,NA,\n2,,false,7,\n"), None, False)
    x, _ = read(source)
    assert x.dtype == np.float32
    nan = np.nan
    np.testing.assert_array_equal(x, [[1, 1.5, 1, nan, nan], [2, nan, 0, 7, nan]])


def test_integers_in_the_first_block_may_be_fractions_later(write):
    rows = 400_000  # More than one block of pyarrow's.
    source = read_csv(write("a\n" + "1234567890\n" * rows + "0.5\n"), None, False)
    x, _ = read(source)
    assert len(x) == rows + 1
    assert x[-1, 0] == 0.5


def test_text_after_the_first_block_is_refused_by_name(write):
    source = read_csv(write("a,b\n" + "1234567890,1\n" * 400_000 + "x,1\n"), None, False)
    with pytest.raises(ValueError, match=r"a\.csv.*'x'"):
        read(source)


def test_columns_and_labels(write):
    path = write("name,x,kind,y\nann,1,0,2\nbob,3,1,4\n")
    x, labels = read(read_csv(path, ["y", "x"], "kind"))
    np.testing.assert_array_equal(x, [[2, 1], [4, 3]])
    np.testing.assert_array_equal(labels, [0, 1])
    assert labels.dtype == np.int64
    assert read_csv(path, [3, 1], False).columns == ("y", "x")
    with pytest.raises(ValueError, match="'name'"):
        read_csv(path, None, "kind")


@pytest.mark.parametrize(
    ("text", "columns", "labels", "message"),
    [
        ("", None, False, r"a\.csv is empty"),
        ("\n\n", None, False, "is empty"),
        ("a,b\n1,x\n", None, False, r"'b' has the type string.*columns=\['a'\]"),
        ("a\nx\n", None, False, "No column holds numbers"),
        ("d,a\n2024-01-01,1\n", None, False, "'d' has the type date32"),
        ("a,b\n1,2\n", "c", False, "no column 'c'"),
        ("a,a\n1,2\n", None, False, "two columns are called 'a'"),
        ("a,b\n1,2\n3\n", None, False, "Expected 2 columns"),
        ("a,b\n1,2\n", None, True, "labels='column'"),
        ("a,b\n1,2\n", None, "c", "no column 'c'"),
        ("a,b\n1,2.5\n", None, "b", "'b' has missing or fractional"),
        ("a,b\n1,\n", None, "b", "'b' has missing or fractional"),
    ],
)
def test_csv_mistakes(write, text, columns, labels, message):
    with pytest.raises(ValueError, match=message):
        read(read_csv(write(text), columns, labels))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "größe\n1\n".encode("latin-1"), "not encoded in UTF-8"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "not encoded in UTF-8"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2.5\n" * 9999)[:-20], "cannot be read"),
    ],
)
def test_damaged_csv(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*{message}"):
        read(read_csv(tmp_path / name, None, False))


def test_a_first_row_with_a_missing_value_is_not_a_header(write):
    x, _ = read(read_csv(write("NA,2\n3,4\n"), None, False))
    np.testing.assert_array_equal(x, [[np.nan, 2], [3, 4]])


def test_a_csv_with_only_a_header_has_no_rows(write):
    assert sum(len(x) for x, _ in read_csv(write("a,b\n"), None, False).chunks(None)) == 0


@pytest.fixture
def parquet(tmp_path):
    def write_columns(columns, **options):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet", **options)
        return tmp_path / "a.parquet"

    return write_columns


def test_parquet_types(parquet):
    path = parquet(
        {
            "i": pa.array([1, None, 3], pa.int64()),
            "h": pa.array(np.array([1, 2, 3], np.float16)),
            "b": pa.array([True, False, None]),
            "d": pa.array([1, 2, 3], pa.decimal128(5, 2)),
        }
    )
    source = read_parquet(path, None, False)
    assert (source.rows, source.columns) == (3, ("i", "h", "b", "d"))
    nan = np.nan
    np.testing.assert_array_equal(read(source)[0], [[1, 1, 1, 1], [nan, 2, 0, 2], [3, 3, nan, 3]])


def test_parquet_columns_labels_and_row_groups(parquet):
    n = 100
    path = parquet({"a": np.arange(n), "s": ["x"] * n, "k": np.arange(n) % 3}, row_group_size=9)
    x, labels = read(read_parquet(path, "a", "k"))
    np.testing.assert_array_equal(x[:, 0], np.arange(n))
    np.testing.assert_array_equal(labels, np.arange(n) % 3)
    source = read_parquet(path, "a", False)
    seen = np.concatenate([x for x, _ in source.chunks(np.random.default_rng(0))])[:, 0]
    assert sorted(seen) == list(range(n))
    assert sorted(seen) != seen.tolist()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["x", "y"], "b": [1, 2]}, r"'a' has the type (large_)?string.*columns=\['b'\]"),
        ({"a": [[1.0], [2.0]]}, "'a' has the type list"),
    ],
)
def test_parquet_columns_must_be_numbers(parquet, columns, message):
    with pytest.raises(ValueError, match=message):
        read_parquet(parquet(columns), None, False)


def test_damaged_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read"):
        read_parquet(tmp_path / "a.parquet", None, False)


def test_an_unnamed_first_column_like_that_of_pandas_is_left_out_with_a_warning(write):
    path = write(",a,b\n0,1.5,2\n1,2.5,3\n")
    with pytest.warns(UserWarning, match="the first column has no name"):
        source = read_csv(path, None, False)
    assert source.columns == ("a", "b")
    assert read_csv(path, ["", "a"], False).columns == ("", "a")
