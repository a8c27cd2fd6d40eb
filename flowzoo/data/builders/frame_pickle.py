"""Reader of a pickled pandas DataFrame of numbers, without pandas and without running code from the file.

GAS is distributed as a pickle of an old pandas. pandas 2 cannot read it (gpapamak/maf#13), and a pickle may
run arbitrary code. This reader therefore accepts only the layout that pandas 0.14 to 1.2 wrote. It rebuilds
NumPy arrays, replaces pandas classes by shells that keep their state, and refuses everything else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

# Their names in NumPy 1, Python 2 and Python 3.
_NUMPY_AND_BUILTINS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
}


def read_frame(path: Path) -> dict[str, np.ndarray]:
    """The columns of a pickled DataFrame, in its order.

    Args:
        path: A pickle written by pandas 0.14 to 1.2; all columns hold numbers.

    Returns:
        Mapping from the name of a column to its values, `[rows]`.

    Raises:
        ValueError: If the file is anything else.
    """
    try:
        with open(path, "rb") as file:
            # Python 2 wrote bytes where Python 3 writes text; Latin-1 keeps every byte.
            frame = _Unpickler(file, encoding="latin1").load()
        state = frame.state
        manager = state["_data"] if isinstance(state, dict) else state
        (names, _), blocks, block_names = manager.state[:3]
        columns = {
            str(name): np.asarray(values)
            for block, held in zip(blocks, block_names, strict=True)
            for name, values in zip(held, block, strict=True)
        }
        return {str(name): columns[str(name)] for name in names}
    except (pickle.UnpicklingError, AttributeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a DataFrame of numbers pickled by pandas 0.14 to 1.2 "
            f"({type(error).__name__}: {error})."
        ) from error


class _Shell:
    """Replaces a pandas class; it only keeps its state."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _values_of_index(cls: type, attributes: dict[str, Any]) -> Any:
    """The values of an Index; None for an Index of row numbers, which stores none."""
    return attributes.get("data")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_AND_BUILTINS:
            return _NUMPY_AND_BUILTINS[module, name]
        if module.split(".")[0] == "pandas":
            return _values_of_index if name == "_new_Index" else _Shell
        raise pickle.UnpicklingError(f"it names {module}.{name}, which such a file does not contain")
