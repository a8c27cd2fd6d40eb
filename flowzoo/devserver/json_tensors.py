"""Converts JSON of the REST API to arrays and back, as strictly as TF Serving.

Format: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_SHOWN = 200


def read_json(body: bytes) -> dict[str, Any]:
    """Reads the object in a request's body. Accepts NaN and Infinity, as the server does."""
    try:
        value = json.loads(body, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise _invalid(f"JSON Value: {_show(value)} Is not object")
    if not isinstance(value.get("signature_name", ""), str):
        raise _invalid(f"JSON Value: {_show(value)} 'signature_name' key must be a string value.")
    return value


def read_inputs(request: dict[str, Any], wanted: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the input tensors of a request, and whether they came in rows ("instances").

    Args:
        request: Request from `read_json`.
        wanted: Inputs of the signature, by name.
    """
    if "instances" in request and "inputs" in request:
        raise _invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in request:
        columns = _columns(request["instances"], list(wanted))
    elif "inputs" in request:
        columns = _named(request["inputs"], list(wanted))
    else:
        raise _invalid("Missing 'inputs' or 'instances' key")
    return {name: _array(columns[name], wanted[name].dtype) for name in columns}, "instances" in request


def write_outputs(outputs: Mapping[str, np.ndarray], in_rows: bool) -> dict[str, Any]:
    """Builds the reply: "predictions" by row or "outputs" by name; a single output has no name."""
    lists = {name: array.tolist() for name, array in outputs.items()}
    if len(lists) == 1:
        (only,) = lists.values()
        return {"predictions" if in_rows else "outputs": only}
    if not in_rows:
        return {"outputs": lists}
    return {"predictions": [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]}


def _columns(instances: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(instances, list):
        raise _invalid("Excepting 'instances' to be an list/array")
    if not instances:
        raise _invalid("No values in 'instances' array")
    if isinstance(instances[0], dict):
        for index, row in enumerate(instances):
            if not isinstance(row, dict):
                raise _invalid(f"Expecting object but got list at item {index} of input list")
            if set(row) != set(names):
                raise _invalid(
                    f"Failed to process element: {index} of 'instances' list. JSON object: {_show(row)} "
                    f"keys must be equal to: {','.join(sorted(names))}"
                )
        return {name: [row[name] for row in instances] for name in names}
    if len(names) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    return {names[0]: instances}


def _named(inputs: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(inputs, dict):
        for name in names:
            if name not in inputs:
                raise _invalid(f"Missing named input: {name} in 'inputs' object.")
        return {name: inputs[name] for name in names}
    if len(names) > 1:
        raise _invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
            "per tensorinfo_map"
        )
    return {names[0]: inputs}


def _array(value: Any, dtype: int) -> np.ndarray:
    """A number or nested lists of numbers as an array; the first items define the shape."""
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    leaves = [value]
    for level, size in enumerate(shape):
        for item in leaves:
            if not isinstance(item, list):
                raise _invalid(f"JSON Value: {_show(item)} found at incorrect level: {level}")
            if len(item) != size:
                raise _invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} "
                    f"expected size: {size}"
                )
        leaves = list(itertools.chain.from_iterable(leaves))
    wanted = tf.as_dtype(dtype)
    read_as = _checked_dtype(leaves, wanted)
    try:
        return np.array(leaves, read_as).astype(wanted.as_numpy_dtype).reshape(shape)
    except ValueError as error:
        raise _invalid(f"Encountered a list of an impossible shape: {error}") from None


def _checked_dtype(leaves: list, wanted: tf.DType) -> Any:
    """The dtype to read the numbers as; refuses other kinds: 7.0, "7" and true are not int64."""
    if not (wanted.is_floating or wanted.is_integer or wanted.is_bool):
        message = f"The stand-in does not accept inputs of type {wanted.name}; send numbers or booleans."
        raise tf.errors.UnimplementedError(None, None, message)
    taken = {bool} if wanted.is_bool else {int} if wanted.is_integer else {int, float}
    types = set(map(type, leaves))
    if list in types:
        raise _invalid("Encountered list at unexpected level")
    if not types <= taken:
        bad = next(leaf for leaf in leaves if type(leaf) not in taken)
        raise _invalid(f"JSON Value: {_show(bad)} is not of expected type: {wanted.name}")
    if wanted.is_bool:
        return np.bool_
    if wanted.is_floating:
        most, exact = float(wanted.max), 2 ** (np.finfo(wanted.as_numpy_dtype).nmant + 1) - 1
        for leaf in leaves:
            too_large = most < abs(leaf) != math.inf
            if too_large or (type(leaf) is int and exact < abs(leaf) < 2**63):
                message = (
                    f"Cannot convert JSON value: {_show(leaf)} to {wanted.name} without loss of precision."
                )
                raise _invalid(message)
        return wanted.as_numpy_dtype
    # As in the server: a byte is read as int32, and too large a value keeps its low bits.
    read_as = np.int32 if wanted.size < 4 else wanted.as_numpy_dtype
    least, most = np.iinfo(read_as).min, np.iinfo(read_as).max
    for leaf in leaves:
        if not least <= leaf <= most:
            raise _invalid(f"JSON Value: {_show(leaf)} is not of expected type: {wanted.name}")
    return read_as


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("Number too big to be stored in double")
    return value


def _show(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "..."
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."


def _invalid(message: str) -> tf.errors.OpError:
    return tf.errors.InvalidArgumentError(None, None, message)
