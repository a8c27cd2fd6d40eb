"""export_onnx: writes a flow's log_prob, sample, encode and decode as checked ONNX graphs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from flowzoo._version import __version__
from flowzoo.density import Density
from flowzoo.export.checks import check_weights, make_directory
from flowzoo.export.manifest import UNITS
from flowzoo.export.signatures import Signatures, input_specs
from flowzoo.storage import files
from flowzoo.utils import validation

if TYPE_CHECKING:
    import onnx

OPSET = 18
GRAPHS = ("log_prob", "sample", "encode", "decode")
# Largest allowed difference between onnxruntime and Keras, relative to the largest value.
TOLERANCE = 1e-4
# Weights of more bytes than this go to a separate file for each graph. A graph's file holds at most 2 GB,
# including masks and transposed copies of the weights.
EXTERNAL_ABOVE = 2**29
_ROWS = 16
_WEIGHT = "weight_"


def export_onnx(
    density: Density, directory: str | os.PathLike, *, rows: Any = None, context: Any = None
) -> Path:
    """Writes ``log_prob.onnx``, ``sample.onnx``, ``encode.onnx`` and ``decode.onnx``.

    `Flow.export` is the public name. Inputs and outputs have the names and shapes of the served signatures,
    with any number of rows. A seed gives the same sample as in Keras. Each graph is checked, run by
    onnxruntime and compared with Keras; the files appear only if all four agree. More than 512 MiB of weights
    go to a separate file for each graph, such as ``log_prob.onnx.data``: keep it next to the graph.

    Args:
        density: The flow's density.
        directory: Directory of the files; created if necessary.
        rows: Rows of data ``[N, *event_shape]`` for the comparison; samples of the flow by default.
        context: A context for each row, for a conditional flow.

    Returns:
        The directory.

    Raises:
        ImportError: If the extra ``onnx`` is not installed.
        ValueError: If an op has no counterpart in ONNX (the message names it), the results differ, weights
            are not finite, or a file is in the way.
    """
    _check_installed()
    check_weights(density)
    is_large = sum(weight.value.numpy().nbytes for weight in density.weights) > EXTERNAL_ABOVE
    functions = Signatures(density, checked=False).functions()
    concrete = {name: functions[name].get_concrete_function() for name in GRAPHS}
    inputs = _inputs(density, concrete, rows, context)
    directory = make_directory(directory)
    _check_replaceable(directory)
    with files.temporary_directory(directory, "writing") as beside:
        for name in GRAPHS:
            path, specs = beside / f"{name}.onnx", list(input_specs(concrete[name]).values())
            if is_large:
                model = _convert(name, *_with_weights_as_inputs(density, functions[name], specs))
                _move_weights_beside(density, model, f"{path.name}.data")
            else:
                model = _convert(name, functions[name], specs)
            _save(model, _properties(density, name, concrete[name]), path)
            _compare(name, concrete[name], inputs, path)
        _publish(beside, directory)
    return directory


def _check_replaceable(directory):
    """Raises a ValueError if a file that flowzoo did not export is in the way."""
    import onnx

    for path in (directory / f"{name}.onnx" for name in GRAPHS):
        if not path.exists():
            continue
        try:
            model = onnx.load(str(path), load_external_data=False)
            is_ours = any(entry.key == "flowzoo" for entry in model.metadata_props)
        except Exception:  # noqa: BLE001  Whatever a file that is not ONNX makes of the parser.
            is_ours = False
        if not is_ours:
            raise ValueError(f"{path} is in the way: flowzoo did not export it. Choose another directory.")


def _check_installed():
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"ONNX export needs {error.name}, which is not installed: pip install 'flowzoo[onnx]'."
        ) from None


def _inputs(density, functions, rows, context):
    """The values on which the graphs are compared, by input name."""
    seeds = np.arange(_ROWS, dtype=np.int64)
    if density.context_shape is not None and context is None:
        context = np.random.default_rng(0).normal(size=(_ROWS, *density.context_shape))
    if rows is None:
        contexts = validation.as_context(context, density.context_shape, _ROWS, density.dtype)
        temperatures = tf.ones([_ROWS], density.dtype)
        rows = density.sample_rows(tf.constant(seeds), temperatures, contexts).numpy()
        if tf.as_dtype(density.input_dtype).is_integer:
            rows = np.floor(rows)
    rows = np.asarray(rows)[:_ROWS]
    context = None if context is None else np.asarray(context)[: len(rows)]
    x = validation.as_rows(rows, density.event_shape, density.dtype, "rows")
    validation.check_finite(x, "rows")
    contexts = validation.as_context(context, density.context_shape, len(rows), density.dtype)
    inputs = {
        "x": rows,
        "z": density.encode_rows(x, contexts).numpy(),
        "seed": seeds[: len(rows)],
        "temperature": np.ones(len(rows)),
    }
    if contexts is not None:
        inputs["context"] = contexts.numpy()
    specs = {key: spec for function in functions.values() for key, spec in input_specs(function).items()}
    return {key: value.astype(specs[key].dtype.as_numpy_dtype) for key, value in inputs.items()}


def _convert(name, function, specs):
    import onnx
    import tf2onnx

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    # tf2onnx only logs the ops that it cannot convert; the check below raises an error.
    logger.setLevel(logging.CRITICAL)
    try:
        model, _ = tf2onnx.convert.from_function(
            function, specs, opset=OPSET, custom_op_handlers={"SelectV2": (_select, [])}
        )
    finally:
        logger.setLevel(level)
    unknown = sorted({n.op_type for n in _nodes(model.graph) if not onnx.defs.has(n.op_type, n.domain)})
    if unknown:
        raise ValueError(
            f"{name}: ONNX has no counterpart for the TensorFlow ops {', '.join(unknown)}, which a layer or "
            "the base of this flow uses. Write that part with other ops. Nothing was written."
        )
    _count_axes_from_the_left(model)
    return model


def _select(context, node, name, arguments):
    """Converts `tf.where` to ONNX's Where; tf2onnx's ``c x + (1 - c) y`` is NaN if either is not finite."""
    node.type = "Where"
    return node


def _save(model, properties, path):
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties)
    onnx.save_model(model, str(path))
    onnx.checker.check_model(str(path))


def _with_weights_as_inputs(density, function, specs):
    """The function with the weights as additional inputs; as constants, they do not fit into a GraphDef."""
    weights = [tf.TensorSpec(w.shape, w.dtype, f"{_WEIGHT}{i}") for i, w in enumerate(density.weights)]

    def apart(*tensors):
        values = list(zip(density.weights, tensors[len(specs) :], strict=True))
        with keras.StatelessScope(state_mapping=values):
            return function.python_function(*tensors[: len(specs)])

    all_specs = [*specs, *weights]
    return tf.function(apart, input_signature=all_specs, autograph=False), all_specs


def _move_weights_beside(density, model, file_name):
    """Turns the inputs that are weights into constants; `_save` writes them to the file."""
    import onnx

    used = {name for node in _nodes(model.graph) for name in node.input}
    for value in [value for value in model.graph.input if value.name.startswith(_WEIGHT)]:
        model.graph.input.remove(value)
        if value.name in used:
            weight = density.weights[int(value.name.removeprefix(_WEIGHT))]
            tensor = onnx.numpy_helper.from_array(weight.value.numpy(), value.name)
            onnx.external_data_helper.set_external_data(tensor, file_name)
            model.graph.initializer.append(tensor)


def _publish(beside, directory):
    """Moves the files to the directory, data before their graph; removes data of an older export."""
    for name in GRAPHS:
        data = f"{name}.onnx.data"
        if (beside / data).exists():
            os.replace(beside / data, directory / data)
        else:
            (directory / data).unlink(missing_ok=True)
        os.replace(beside / f"{name}.onnx", directory / f"{name}.onnx")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, including those of loops and branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _count_axes_from_the_left(model: onnx.ModelProto) -> None:
    """Rewrites the reductions' negative axes, with which onnxruntime reduces zero rows wrongly."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    _rewrite_axes(model.graph, inferred.graph, {}, {})


def _rewrite_axes(graph, inferred, ranks, constants):
    import onnx

    ranks, constants = dict(ranks), dict(constants)
    for value in [*inferred.value_info, *inferred.input, *inferred.output]:
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
        ranks.setdefault(tensor.name, len(tensor.dims))
    for node, inferred_node in zip(list(graph.node), inferred.node, strict=True):
        for attribute, inferred_attribute in zip(node.attribute, inferred_node.attribute, strict=True):
            if attribute.HasField("g"):
                _rewrite_axes(attribute.g, inferred_attribute.g, ranks, constants)
        if not node.op_type.startswith("Reduce") or node.input[0] not in ranks:
            continue
        rank = ranks[node.input[0]]
        for attribute in node.attribute:
            if attribute.name == "axes":
                attribute.ints[:] = [axis % rank for axis in attribute.ints]
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if axes is not None and (axes < 0).any():
            name = f"{node.name}__axes_from_the_left"
            graph.initializer.append(onnx.numpy_helper.from_array(axes % rank, name))
            node.input[1] = name


def _properties(density, name, function):
    """The metadata in a graph's file."""
    tensors = [*input_specs(function), *function.structured_outputs]
    return {
        "flowzoo": __version__,
        "graph": name,
        "flow": density.name,
        "architecture": density.architecture or "",
        "event_shape": ",".join(map(str, density.event_shape)),
        "context_shape": "" if density.context_shape is None else ",".join(map(str, density.context_shape)),
        "columns": json.dumps(density.columns) if density.columns is not None else "",
        "units": "; ".join(f"{key}: {UNITS[key]}" for key in tensors if key in UNITS),
    }


def _compare(name, concrete, inputs, path):
    """Raises a ValueError unless onnxruntime and Keras agree."""
    import onnxruntime

    given = {key: inputs[key] for key in input_specs(concrete)}
    ((output, wanted),) = concrete(**{key: tf.constant(value) for key, value in given.items()}).items()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run([output], given)
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    error = float(np.abs(got - wanted).max(initial=0.0)) / scale
    if not error <= TOLERANCE:
        raise ValueError(
            f"{name}: onnxruntime and Keras differ by {error:.1e} of the largest value, more than "
            f"{TOLERANCE:g}. Nothing was written."
        )
