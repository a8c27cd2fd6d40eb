"""flowzoo export: a flow as the next version of a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flowzoo.cli.common import Model, load_flow
from flowzoo.cli.console import examples, print_table

EXAMPLES = examples("flowzoo export runs/mine models/mine")


def run(
    model: Model,
    base_dir: Annotated[
        Path, typer.Argument(help="The served model's directory; versions 1, 2, ... go there.")
    ],
    format: Annotated[str, typer.Option(help="What to write.")] = "tf_saved_model",
) -> None:
    """Exports a flow for TF Serving.

    Writes BASE_DIR/1; when that exists BASE_DIR/2, and so on.
    """
    flow = load_flow(model)
    path = flow.export(base_dir, format=format)
    typer.echo(f"wrote {path}")
    if (Path(path) / "saved_model.pb").is_file():
        print_table(("signature", "inputs", "outputs"), _signatures(Path(path)))


def _signatures(path: Path) -> list[tuple[str, str, str]]:
    """Name, inputs and outputs of each signature, read from the model's protocol buffer."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    return [
        (name, _shown(signatures[name].inputs), _shown(signatures[name].outputs))
        for name in sorted(signatures)
        if not name.startswith("__")
    ]


def _shown(tensors: Any) -> str:
    import tensorflow as tf

    parts = []
    for name, info in sorted(tensors.items()):
        sizes = ["N" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
        parts.append(f"{name} {tf.as_dtype(info.dtype).name}[{','.join(sizes)}]")
    return ", ".join(parts)
