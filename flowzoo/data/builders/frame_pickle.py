"""A pickled pandas DataFrame of numbers as NumPy columns, without pandas and without running its code.

GAS comes as a pickle that an old pandas wrote. pandas 2 does not read it (gpapamak/maf#13), and a pickle
may run whatever code it names. So this reader takes apart the one layout that pandas 0.14 to 1.2 wrote:
NumPy's arrays are rebuilt, pandas' classes become shells that keep their state, and all else is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

# As NumPy 1 and both Pythons called them.
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
        path: A pickle that pandas 0.14 to 1.2 wrote; all columns hold numbers.

    Returns:
        Name to values, `[rows]`.

    Raises:
        ValueError: If the file is anything else.
    """
    try:
        with open(path, "rb") as file:
            # Python 2 wrote bytes where Python 3 writes text; Latin-1 keeps each of them.
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
            f"{path} is not a DataFrame of numbers as pandas 0.14 to 1.2 pickled it "
            f"({type(error).__name__}: {error})."
        ) from error


class _Shell:
    """Stands for a class of pandas: does nothing but keep its state."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _values_of_index(cls: type, attributes: dict[str, Any]) -> Any:
    """What an Index is good for here; one of row numbers has no data."""
    return attributes.get("data")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_AND_BUILTINS:
            return _NUMPY_AND_BUILTINS[module, name]
        if module.split(".")[0] == "pandas":
            return _values_of_index if name == "_new_Index" else _Shell
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of such a file")
