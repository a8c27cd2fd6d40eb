"""flowzoo serve: a development server with the REST and gRPC interfaces of TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowzoo.cli.console import complain, examples
from flowzoo.cli.quiet import import_tensorflow

EXAMPLES = examples(
    "flowzoo serve models/flights",
    "flowzoo serve models --port 0 --grpc-port 0",
    "flowzoo serve models --config serving/models.config",
)


def run(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A model's folder (DIR/1, DIR/2, ...) or a folder of such folders."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A models.config of TensorFlow Serving: versions and their labels."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="REST port; 0 chooses a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 chooses a free one.")] = 8500,
) -> None:
    """Serves exported flows during development.

    It has the REST and gRPC interfaces of TensorFlow Serving and loads new versions as they appear. Stop it
    with Ctrl-C.
    """
    if not directory.is_dir():  # Before TensorFlow is imported, which takes seconds.
        raise ValueError(f"There is no directory {directory}.")
    if config is not None and not config.is_file():
        raise ValueError(f"There is no file {config}.")
    import_tensorflow()
    from flowzoo.devserver import Server

    with Server(directory, config=config, host=host, rest_port=port, grpc_port=grpc_port) as server:
        complain("note", "this server is for development: unlike TensorFlow Serving, it does not batch.")
        for model in server.models:
            typer.echo(f"REST http://{server.rest_address}/v1/models/{model.name}:predict")
        typer.echo(f"gRPC {server.grpc_address}")
        try:
            server.wait()
        except KeyboardInterrupt:
            typer.echo("stopped")
