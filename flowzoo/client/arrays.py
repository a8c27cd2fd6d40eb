"""Converts and checks a user's arguments: the arrays that a signature takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowzoo.client.protocol import Signature, TensorSpec
from flowzoo.utils import validation


def as_inputs(
    signature: Signature, given: Mapping[str, Any], rows: int | None, finite: bool
) -> dict[str, np.ndarray]:
    """Inputs of one request: arrays in the signature's dtypes, rows first.

    Args:
        signature: Signature to call.
        given: Inputs by name; "context" may be None, or one vector for all rows.
        rows: Number of rows, or None to take that of the first input.
        finite: Whether to refuse NaN and infinity.

    Raises:
        ValueError: On wrong shapes or values, and if a context is missing or not expected.
    """
    wanted = signature.inputs.get("context")
    validation.check_context_presence(given["context"] is not None, wanted and _event_shape(wanted))
    inputs = {}
    for name, value in given.items():
        if value is None:
            continue
        array, spec = _as_array(value, name), signature.inputs[name]
        if name == "context" and array.ndim == len(_event_shape(spec)) and rows is not None:
            array = np.broadcast_to(array, (rows, *array.shape))
        validation.check_event_shape(array.shape, _event_shape(spec), name)
        inputs[name] = _cast(array, spec.dtype, name)
        rows = len(array) if rows is None else rows
        if len(array) != rows:
            raise ValueError(f"{name} has {len(array)} rows; expected {rows}, one for each row of the batch.")
        if finite and inputs[name].dtype.kind == "f":
            validation.check_finite(inputs[name], name)
    return inputs


def describe(inputs: Mapping[str, np.ndarray]) -> str:
    """Names, dtypes and shapes of inputs, for a message."""
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in inputs.items())


def _event_shape(spec: TensorSpec) -> tuple:
    return spec.shape[1:]


def _as_array(value: Any, name: str) -> np.ndarray:
    validation.check_unmasked(value, name)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be an array of numbers with equal rows.") from None
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}. Encode it as numbers first.")
    return array


def _cast(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    if np.dtype(dtype).kind in "iu" and array.dtype != dtype:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        bad = ~((array >= least) & (array <= most) & (array == np.floor(array)))
        if bad.any():
            hint = " Samples of pixels are continuous: apply np.floor." if dtype == "uint8" else ""
            raise ValueError(
                f"{name} is sent as {dtype} and must hold whole numbers from {least} to {most}; "
                f"got {array[bad][0]}.{hint}"
            )
    with np.errstate(over="ignore"):  # Too large a value becomes infinite; check_finite reports it.
        return array.astype(dtype)
