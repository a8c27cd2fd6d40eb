"""Paths, globs and lists of files; describe_file."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from flowzoo.data import describe_file
from flowzoo.data.files import expand, is_path, open_files


def read(source, rng=None):
    return np.concatenate([x for x, _ in source.chunks(rng)])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mnist", False),
        ("rows.csv", True),
        ("./mnist", True),
        ("rows-00000-of-00002.tfrecord", True),
        ("data.tfrecord-00000-of-00002", True),
        ("*.npy", True),
        (["a.npy"], True),
    ],
)
def test_what_is_a_path(source, expected):
    assert is_path(source) == expected


def test_globs_and_lists(tmp_path, table):
    for name in ("b.npy", "a.npy", "c.txt"):
        with open(tmp_path / name, "wb") as file:
            np.save(file, table)
    found = expand(str(tmp_path / "*.npy"))
    assert [path.name for path in found] == ["a.npy", "b.npy"]
    assert expand([tmp_path / "b.npy", str(tmp_path / "a.*")]) == [found[1], found[0]]
    assert open_files(found).rows == 600
    np.testing.assert_array_equal(read(open_files(found)), np.concatenate([table, table]))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("{dir}/data.csv", FileNotFoundError, "Did you mean 'date.csv'"),
        ("{dir}/nothing/data.csv", FileNotFoundError, "There is no file"),
        ("{dir}/*.parquet", FileNotFoundError, "No file matches"),
        ("{dir}", ValueError, r"directory.*\*\.parquet"),
        ([], ValueError, "empty list"),
        (3, TypeError, "got int"),
        ([3], TypeError, "must be a path; got int"),
    ],
)
def test_wrong_paths_are_refused(tmp_path, source, error, message):
    (tmp_path / "date.csv").write_text("a\n1\n")
    if isinstance(source, str):
        source = source.format(dir=tmp_path)
    with pytest.raises(error, match=message):
        expand(source)


def test_other_kinds_of_files_are_refused(tmp_path):
    (tmp_path / "rows.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"must end in \.npy"):
        describe_file(tmp_path / "rows.xlsx")


def test_files_must_have_the_same_columns(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(ValueError, match=r"b\.csv.*lacks \['y'\] and adds \['z'\]"):
        describe_file(tmp_path / "*.csv")
    assert describe_file(tmp_path / "*.csv", columns="x").columns == ("x",)


def test_columns_in_another_order_are_put_in_order(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,x\n4,3\n")
    source = open_files(expand(tmp_path / "*.csv"))
    np.testing.assert_array_equal(read(source), [[1, 2], [3, 4]])


def test_files_must_have_the_same_event_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4, 1), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match=r"\(8, 8, 1\).*must be the same"):
        describe_file(tmp_path / "*.npy")


def test_a_random_pass_visits_every_file_once(tmp_path):
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", np.full((2, 1), i, np.float32))
    source = open_files(expand(tmp_path / "*.npy"))
    seen = read(source, np.random.default_rng(1))[:, 0]
    assert sorted(seen) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(seen) != seen.tolist()


def test_describe_counts_rows_where_that_is_cheap(tmp_path, table):
    np.save(tmp_path / "rows.npy", table)
    np.savetxt(tmp_path / "rows.csv", table, delimiter=",", header="a,b,c", comments="")
    columns = {name: table[:, i] for i, name in enumerate("abc")}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    npy = describe_file(tmp_path / "rows.npy")
    assert (npy.format, npy.rows, npy.columns) == ("npy", 300, ("0", "1", "2"))
    assert (npy.event_shape, npy.dtype) == ((3,), "float32")
    csv = describe_file(str(tmp_path / "rows.csv"), columns=["c", "a"])
    assert (csv.format, csv.rows, csv.columns, csv.event_shape) == ("csv", None, ("c", "a"), (2,))
    assert describe_file(tmp_path / "rows.parquet").rows == 300


MEMORY = """
import resource, sys
from flowzoo.data.files import expand, open_files
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rows, early = 0, None
for x, _ in open_files(expand(sys.argv[1])).chunks(None):
    rows += len(x)
    early = early or (peak() if rows >= 500_000 else None)
print(rows, peak() - early)
"""


def write_large(path, rng):
    """Writes 5 million rows of 8 columns, 160 MB as float32."""
    block = rng.normal(size=(50_000, 8)).astype(np.float32)
    if path.suffix == ".npy":
        np.save(path, np.tile(block, (100, 1)))
    elif path.suffix == ".npz":
        np.savez(path, np.tile(block, (100, 1)))
    elif path.suffix == ".parquet":
        # One row group, as some programs write it, of values that a dictionary does not compress.
        x = rng.normal(size=(5_000_000, 8)).astype(np.float32)
        table = pa.table({str(i): x[:, i] for i in range(8)})
        pq.write_table(table, path, row_group_size=len(x), use_dictionary=False)
    elif path.suffix == ".csv":
        with open(path, "wb") as file:
            names = pa.table({f"c{i}": block[:, i].round(3) for i in range(8)})
            pacsv.write_csv(names, file)
            for _ in range(99):
                pacsv.write_csv(names, file, pacsv.WriteOptions(include_header=False))
    else:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in block.tolist():
                x = tf.train.Feature(float_list=tf.train.FloatList(value=row))
                example = tf.train.Example(features=tf.train.Features(feature={"x": x}))
                writer.write(example.SerializeToString())
        path.write_bytes(path.read_bytes() * 100)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".parquet", ".tfrecord"])
def test_a_pass_over_a_large_file_takes_little_memory(tmp_path, rng, ending):
    path = tmp_path / f"rows{ending}"
    write_large(path, rng)
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    rows, growth = done.stdout.split()
    assert int(rows) == 5_000_000
    assert float(growth) < 40, f"{growth} MiB more than after a tenth of the rows"
