"""A small archive with the layout of the real one: the same paths, formats, columns and oddities."""

import hashlib
import io
import pickle
import struct
import tarfile
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest


class SmallArchive(NamedTuple):
    url: str
    md5: str
    raw: dict[str, Any]


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory):
    """An archive with the layout of the real one, and its raw content."""
    path = tmp_path_factory.mktemp("archive") / "data.tar.gz"
    raw = make_archive(path, np.random.default_rng(0))
    return SmallArchive(f"file://{path}", hashlib.md5(path.read_bytes()).hexdigest(), raw)


@pytest.fixture(scope="session")
def frame_pickle():
    """A function that turns names and a table into an old DataFrame pickle."""
    return old_frame


def raw_power(rng):
    rows = 60
    return np.column_stack([rng.random((rows, 8)).round(2) * 10, np.arange(rows)])[:, :8]


def raw_gas(rng):
    """Time, two concentrations and 16 sensors: pairs that agree, a chain, and opposites."""
    rows = 200
    sensors = rng.normal(size=(rows, 16))
    sensors[:, 5] = sensors[:, 0] + 0.01 * rng.normal(size=rows)
    sensors[:, 7] = -sensors[:, 1]
    for i in (9, 10):
        sensors[:, i] = sensors[:, i - 1] + 0.17 * rng.normal(size=rows)
    names = ["Time", "Meth", "Eth", *(f"S{i}" for i in range(16))]
    return names, np.column_stack([np.arange(rows), *sensors[:, :2].T, sensors])


def raw_hepmass(rng, rows, extra):
    """Label, 27 features (two with a spike at the smallest value, one with a spike elsewhere), and extras."""
    features = rng.normal(size=(rows, 27)).round(6)
    for spiky in (3, 20):
        features[features[:, spiky] < 0, spiky] = 0.0
    features[features[:, 8] > 1, 8] = 1.0
    label = (np.arange(rows) % 2 == 0).astype(float)
    return np.column_stack([label, features, np.full((rows, extra), 1000.0)])


def raw_miniboone(rng):
    return rng.normal(size=(80, 43)) * np.arange(1, 44) + 5.0


def raw_bsds300(rng):
    return {
        part: rng.normal(size=(n, 63)).astype(np.float32)
        for part, n in (("train", 40), ("validation", 6), ("test", 9))
    }


def make_archive(path, rng):
    """Writes the archive; returns its raw content."""
    raw = {
        "power": raw_power(rng),
        "gas": raw_gas(rng),
        "hepmass": (raw_hepmass(rng, 120, 0), raw_hepmass(rng, 80, 1)),
        "miniboone": raw_miniboone(rng),
        "bsds300": raw_bsds300(rng),
    }
    files = {
        "data/mnist/mnist.pkl.gz": b"not needed",
        "data/power/data.npy": npy(raw["power"]),
        "data/gas/ethylene_CO.pickle": old_frame(*raw["gas"]),
        "data/hepmass/1000_train.csv": csv(raw["hepmass"][0], ["# label", *(f"f{i}" for i in range(27))]),
        "data/hepmass/1000_test.csv": csv(
            raw["hepmass"][1], ["# label", *(f"f{i}" for i in range(27)), "mass"]
        ),
        "data/miniboone/data.npy": npy(raw["miniboone"]),
        "data/BSDS300/BSDS300.hdf5": hdf5(raw["bsds300"]),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return raw


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def csv(array, header):
    file = io.StringIO()
    np.savetxt(file, array, delimiter=",", header=",".join(header), comments="", fmt="%.18e")
    return file.getvalue().encode()


def hdf5(arrays):
    file = io.BytesIO()
    with h5py.File(file, "w") as archive:
        for name, array in arrays.items():
            archive[name] = array
    return file.getvalue()


def old_frame(names, data):
    """The bytes of a DataFrame as pandas 0.18 and Python 2 pickled it: a block of floats and one of integers.

    `BlockManager.__getstate__` gave the axes, the values and the names of the blocks, and all of them again.
    """
    floats, integers = slice(1, len(names), 1), slice(0, 1, 1)
    blocks = [data.T[floats].copy(), data.T[integers].astype(np.int64)]
    held = [
        _Index({"data": np.array(names[part], dtype=object), "name": None}) for part in (floats, integers)
    ]
    axes = [
        _Index({"data": np.array(names, dtype=object), "name": None}),
        _Index({"start": 0, "stop": len(data), "step": 1, "name": None}),
    ]
    again = [{"values": b, "mgr_locs": part} for b, part in zip(blocks, (floats, integers), strict=True)]
    manager = _Old("pandas.core.internals", "BlockManager")
    manager.state = (axes, blocks, held, {"0.14.1": {"axes": axes, "blocks": again}})
    frame = _Old("pandas.core.frame", "DataFrame")
    frame.state = {"_data": manager, "_typ": "dataframe", "_metadata": []}
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(frame)
    return file.getvalue()


class _Old:
    """An instance of a class that is known only by module and name."""

    def __init__(self, module, name):
        self.cls = _Global(module, name)


class _Index(_Old):
    def __init__(self, attributes):
        kind = ("base", "Index") if "data" in attributes else ("range", "RangeIndex")
        super().__init__(f"pandas.indexes.{kind[0]}", kind[1])
        self.attributes = attributes


class _Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class _Python2Pickler(pickle._Pickler):
    """Writes classes by name only, text and bytes as Python 2's str, and NumPy names as in NumPy 1."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_str(self, value):
        content = value if isinstance(value, bytes) else value.encode()
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core").replace("builtins", "__builtin__")
        self.write(f"c{module}\n{value.__name__}\n".encode())

    def save_named(self, value):
        self.write(f"c{value.module}\n{value.name}\n".encode())

    def save_old(self, value):
        self.save(value.cls)
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.memoize(value)
        self.save(value.state)
        self.write(pickle.BUILD)

    def save_index(self, value):
        self.save(_Global("pandas.indexes.base", "_new_Index"))
        self.save((value.cls, value.attributes))
        self.write(pickle.REDUCE)
        self.memoize(value)

    dispatch |= {
        str: save_str,
        bytes: save_str,
        type: save_global,
        _Global: save_named,
        _Old: save_old,
        _Index: save_index,
    }
