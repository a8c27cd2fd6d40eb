"""Checks of files: `.keras`, presets, SavedModel, ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo import random
from flowzoo.flow import Flow
from flowzoo.models._pretrained import from_pretrained
from flowzoo.testing.asserts import AGREEMENT, assert_close, assert_same_flow
from flowzoo.testing.flows import points, raw_rows


def check_saving(flow: Flow) -> None:
    """A `.keras` file and a preset restore the same weights, densities and samples, bit for bit."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flow.keras"
        flow.save(path)
        assert_same_flow(keras.saving.load_model(path), flow, "a .keras file")
        if flow.architecture is not None:
            flow.save_to_preset(Path(directory) / "preset")
            assert_same_flow(from_pretrained(Path(directory) / "preset"), flow, "a preset")


def check_saved_model(flow: Flow) -> None:
    """The signatures of an exported flow agree with Keras."""
    with tempfile.TemporaryDirectory() as directory:
        version = flow.export(directory)
        assert Path(version) == Path(directory) / "1", f"the first version is {version}"
        loaded = tf.saved_model.load(str(version))
        _check_signatures(flow, loaded.signatures)


def _check_signatures(flow, signatures):
    x = tf.cast(raw_rows(flow, 5, seed=3), flow.input_dtype)
    _, z, context = points(flow, 5)
    rows = tf.cast(x, flow.variable_dtype)
    seeds = tf.constant(random.row_seeds(3, 5))
    temperature = tf.linspace(tf.constant(0.5, z.dtype), 1.5, 5)
    names = ("log_prob", "serving_default", "score", "sample", "encode", "decode")
    assert set(signatures) == set(names), f"the signatures are {sorted(signatures)}"
    score = {**flow.density.score_rows(rows, context)}
    inputs = {
        "sample": {"seed": seeds, "temperature": temperature},
        "decode": {"z": z},
    }
    wanted = {
        "log_prob": {"log_prob": score["log_prob"]},
        "serving_default": {"log_prob": score["log_prob"]},
        "score": score,
        "sample": {"x": flow.density.sample_rows(seeds, temperature, context)},
        "encode": {"z": flow.density.encode_rows(rows, context)},
        "decode": {"x": flow.density.decode_rows(z, context)},
    }
    for name in names:
        given = inputs.get(name, {"x": x})
        given = given if context is None else {**given, "context": context}
        outputs = signatures[name](**given)
        assert set(outputs) == set(wanted[name]), f"signature {name} gives {sorted(outputs)}"
        for key, value in wanted[name].items():
            got = tf.cast(outputs[key], flow.variable_dtype)
            value = tf.cast(value, flow.variable_dtype)
            assert_close(got, value, AGREEMENT[flow.variable_dtype], f"signature {name}, {key}")


def check_onnx(flow: Flow) -> None:
    """ONNX graphs take any number of rows and agree with Keras. Skipped without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return
    x, z, context = (None if t is None else t.numpy() for t in points(flow, 5))
    x = raw_rows(flow, 5, seed=3)
    seed = random.row_seeds(5, 5)
    given: dict[str, Any] = {"x": x, "z": z, "seed": seed, "temperature": np.full(5, 0.8), "context": context}
    wanted = {
        "log_prob": flow.log_prob(x, context),
        "encode": flow.encode(x, context),
        "decode": flow.decode(z, context),
        "sample": flow.sample(seed=seed, temperature=0.8, context=context),
    }
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
    with tempfile.TemporaryDirectory() as directory:
        flow.export(directory, format="onnx")
        for name, values in wanted.items():
            session = onnxruntime.InferenceSession(Path(directory) / f"{name}.onnx")
            inputs = {i.name: given[i.name].astype(types[i.type]) for i in session.get_inputs()}
            (got,) = session.run(None, inputs)
            assert_close(got, values, AGREEMENT["float32"], f"ONNX: {name}")
            for rows in (0, 1):
                (got,) = session.run(None, {key: value[:rows] for key, value in inputs.items()})
                assert_close(got, values[:rows], AGREEMENT["float32"], f"ONNX: {name} of {rows} rows")
