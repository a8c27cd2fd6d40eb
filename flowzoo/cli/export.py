"""flowzoo export: writes a flow as the next version of a served model, or as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowzoo.cli.common import load_flow
from flowzoo.cli.console import examples, print_table

EXAMPLES = examples(
    "flowzoo export runs/mine models/mine",
    "flowzoo export runs/mine models/mine --keep 3",
    "flowzoo export runs/mine onnx/mine --format onnx",
    "flowzoo export --verify models/mine",
)


def run(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="Name of a preset, a preset or run directory, or a .keras file."
        ),
    ] = None,
    base_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="BASE_DIR", help="Directory of the model, for versions 1, 2, ... or for ONNX graphs."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="Format: tf_saved_model or onnx.")] = "tf_saved_model",
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Remove all but the newest N versions afterwards; by default keep all."
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Only check the files of DIR: a version, or the newest version of a base directory.",
        ),
    ] = None,
) -> None:
    """Exports a flow for TF Serving or ONNX Runtime.

    Writes the next version, BASE_DIR/1, BASE_DIR/2, and so on: a SavedModel with warm-up requests,
    batching parameters and a manifest of its files. With --format onnx it writes four graphs, which have
    been compared with Keras: log_prob, sample, encode, decode.
    """
    if verify is not None:
        if model is not None:
            raise typer.BadParameter("--verify DIR checks an existing export and takes no MODEL.")
        _verify(verify)
    elif model is None or base_dir is None:
        raise typer.BadParameter("An export needs MODEL and BASE_DIR.")
    elif keep is not None and format == "onnx":
        raise typer.BadParameter("--keep is for versions, and ONNX graphs have none.")
    else:
        _export(model, base_dir, format, keep)


def _verify(directory: Path) -> None:
    from flowzoo.export.manifest import read_manifest, verify_export

    version = verify_export(directory)
    manifest = read_manifest(version)
    typer.echo(
        f"ok: {len(manifest['files'])} files of {version} are as flowzoo {manifest['flowzoo']} wrote them"
    )


def _export(model: str, base_dir: Path, format: str, keep: int | None) -> None:
    flow = load_flow(model)
    path = flow.export(base_dir, format=format, **({} if keep is None else {"keep": keep}))
    typer.echo(f"wrote {path}")
    if (path / "saved_model.pb").is_file():
        print_table(("signature", "inputs", "outputs"), _signatures(path))


def _signatures(path: Path) -> list[tuple[str, str, str]]:
    """Name, inputs and outputs of each signature."""
    from flowzoo.export.manifest import read_manifest

    signatures = read_manifest(path)["signatures"].items()
    return [(name, _shown(tensors["inputs"]), _shown(tensors["outputs"])) for name, tensors in signatures]


def _shown(tensors: dict[str, dict]) -> str:
    parts = []
    for name, tensor in tensors.items():
        sizes = ["N" if size is None else str(size) for size in tensor["shape"]]
        parts.append(f"{name} {tensor['dtype']}[{','.join(sizes)}]")
    return ", ".join(parts)
