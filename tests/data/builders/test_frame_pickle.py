"""DataFrames without pandas: the old layout, and refused files."""

import os
import pickle

import numpy as np
import pytest

from flowzoo.data.builders.frame_pickle import read_frame


def test_columns_come_in_the_frames_order_from_blocks_of_several_types(tmp_path, frame_pickle, rng):
    data = np.column_stack([np.arange(7), rng.normal(size=(7, 3))])
    (tmp_path / "frame.pickle").write_bytes(frame_pickle(["Time", "a", "b", "c"], data))
    columns = read_frame(tmp_path / "frame.pickle")
    assert list(columns) == ["Time", "a", "b", "c"]
    np.testing.assert_array_equal(np.stack(list(columns.values()), axis=1), data)


def test_the_pickle_is_one_that_python_2_could_have_written(frame_pickle, rng):
    written = frame_pickle(["a", "b"], rng.normal(size=(3, 2)))
    assert written.startswith(b"\x80\x02")
    for name in (b"cpandas.core.frame\nDataFrame\n", b"cpandas.indexes.base\n_new_Index\n", b"cnumpy.core."):
        assert name in written


class Evil:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Evil(), protocol=2), "names (posix|os).mkdir"),
        (pickle.dumps({"a": 1}), "AttributeError"),
        (pickle.dumps(np.ones(3)), ""),
        (b"", "EOFError"),
        (b"a,b\n1,2\n", "UnpicklingError"),
    ],
)
def test_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frame.pickle").write_bytes(content)
    with pytest.raises(ValueError, match=rf"frame\.pickle is not a DataFrame of numbers.*{message}"):
        read_frame(tmp_path / "frame.pickle")
    assert not (tmp_path / "made_by_a_pickle").exists()
