"""Three tiny flows, exported once, and the servers for them: the stand-in and the real TF Serving."""

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from flowzoo import Flow, random
from flowzoo.client import Client, ServingError
from flowzoo.testing import contexts, make_flow, perturb, raw_rows

STAND_IN, REAL = "stand-in", "tensorflow_model_server"
BINARY = os.environ.get("FLOWZOO_TF_SERVING") or shutil.which(REAL)
NO_BINARY = f"{REAL} is not on the PATH, and FLOWZOO_TF_SERVING is not set"
MARKS = [pytest.mark.serving, pytest.mark.skipif(BINARY is None, reason=NO_BINARY)]
SERVERS = [STAND_IN, pytest.param(REAL, marks=MARKS)]
_FLAGS = [
    "--file_system_poll_wait_seconds=1",
    "--model_config_file_poll_wait_seconds=1",
    "--allow_version_labels_for_unavailable_models=true",
    "--max_num_load_retries=0",
    "--grpc_max_threads=64",
]
_PATIENCE = 60.0


class Served(NamedTuple):
    """A running server."""

    http: str
    grpc: str

    def client(self, model: str, transport: str = "http", **options) -> Client:
        return Client(getattr(self, transport), model, **options)

    def wait_for(self, model: str, version: int, state: str = "AVAILABLE") -> None:
        end = time.monotonic() + _PATIENCE
        with self.client(model, retries=0) as client:
            while time.monotonic() < end:
                with contextlib.suppress(ServingError):
                    if (version, state) in [(v.version, v.state) for v in client.status()]:
                        return
                time.sleep(0.05)
        raise AssertionError(f"version {version} of {model} is not {state} after {_PATIENCE} s")


@contextlib.contextmanager
def serving(kind: str, directory: Path, config: Path | None = None) -> Iterator[Served]:
    """A server of all the models in a directory, or of those in a models.config."""
    start = _stand_in if kind == STAND_IN else _real
    with start(directory, config) as served:
        for folder in directory.iterdir():
            served.wait_for(folder.name, 1)
        yield served


@contextlib.contextmanager
def _stand_in(directory, config):
    from flowzoo.devserver import Server

    with Server(directory, config=config, poll_seconds=0.2) as server:
        yield Served(f"http://{server.rest_address}", f"grpc://{server.grpc_address}")


@contextlib.contextmanager
def _real(directory, config):
    if config is None:
        config = directory.with_suffix(".config")
        models = [
            f'config {{ name: "{folder.name}" base_path: "{folder}" model_platform: "tensorflow" }}'
            for folder in directory.iterdir()
        ]
        config.write_text(f"model_config_list {{ {' '.join(models)} }}", encoding="utf-8")
    http, grpc = _free_port(), _free_port()
    command = [BINARY, f"--port={grpc}", f"--rest_api_port={http}", f"--model_config_file={config}", *_FLAGS]
    with directory.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Served(f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}")
        assert process.poll() is None, f"the server died: see {log.name}"
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Known(NamedTuple):
    """A flow with 1000 rows, and the inputs and Keras's outputs of each signature."""

    flow: Flow
    x: np.ndarray
    context: np.ndarray | None
    inputs: dict[str, dict[str, np.ndarray]]
    outputs: dict[str, dict[str, np.ndarray]]

    @property
    def log_prob(self) -> np.ndarray:
        return self.outputs["log_prob"]["log_prob"]

    def part(self, rows: slice) -> tuple:
        """Arguments of `log_prob` and similar methods for some of the rows."""
        return self.x[rows], None if self.context is None else self.context[rows]


@pytest.fixture(scope="session")
def known() -> dict[str, Known]:
    """The flows by name: a vector, a conditional and an image flow."""
    small = {"dtype": "float32", "steps": 2, "hidden_units": (4,)}
    image = {"dtype": "float32", "levels": 1, "channels": 4, "blocks": 1, "pixel_levels": 256}
    flows = {
        "vector": make_flow("realnvp", (2,), **small),
        "conditional": make_flow("realnvp", (2,), (3,), **small),
        "image": make_flow("realnvp", (4, 4, 1), **image),
    }
    return {name: _known(flow) for name, flow in flows.items()}


def _known(flow: Flow, rows: int = 1000) -> Known:
    flow.use_xla = False
    x, context = raw_rows(flow, rows), contexts(flow, rows)
    x = x.astype("uint8" if x.dtype.kind == "i" else "f")
    context = None if context is None else context.astype("f")
    seed, temperature = random.row_seeds(3, rows), np.linspace(0.5, 1.0, rows, dtype="f")
    z = flow.encode(x, context).numpy()
    density = {"log_prob": flow.log_prob(x, context)}
    answers = {
        "log_prob": ({"x": x}, density),
        "serving_default": ({"x": x}, density),
        "score": ({"x": x}, flow.score(x, context)),
        "sample": (
            {"seed": seed, "temperature": temperature},
            {"x": flow.sample(context=context, temperature=temperature, seed=seed)},
        ),
        "encode": ({"x": x}, {"z": z}),
        "decode": ({"z": z}, {"x": flow.decode(z, context)}),
    }
    given = {} if context is None else {"context": context}
    inputs = {name: {**inputs, **given} for name, (inputs, _) in answers.items()}
    outputs = {n: {key: np.asarray(v) for key, v in o.items()} for n, (_, o) in answers.items()}
    return Known(flow, x, context, inputs, outputs)


@pytest.fixture(scope="session")
def zoo(known, tmp_path_factory) -> Path:
    """``zoo/vector/1``, ``zoo/conditional/1``, ``zoo/image/1``."""
    directory = tmp_path_factory.mktemp("served") / "zoo"
    for name, about in known.items():
        about.flow.export(directory / name)
    return directory


@pytest.fixture(scope="session", params=SERVERS)
def server(request, zoo) -> Iterator[Served]:
    """A server of the zoo, for all tests that do not change it."""
    with serving(request.param, zoo) as served:
        yield served


@pytest.fixture(params=SERVERS)
def start(request) -> Callable:
    """`serving` of one kind of server: ``with start(directory) as served``."""
    return functools.partial(serving, request.param)


@pytest.fixture(params=SERVERS)
def vector_server(request, zoo, tmp_path) -> Iterator[tuple[Served, Path]]:
    """A server of a copy of the vector flow, and that model's folder, whose versions tests may change."""
    shutil.copytree(zoo / "vector", tmp_path / "zoo" / "vector")
    with serving(request.param, tmp_path / "zoo") as served:
        yield served, tmp_path / "zoo" / "vector"


@pytest.fixture(scope="session")
def other(known, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """Another exported vector flow, and its densities of the same rows."""
    flow = make_flow("realnvp", (2,), dtype="float32", steps=2, hidden_units=(4,))
    flow.use_xla = False
    perturb(flow, 0.3, seed=1)
    wanted = flow.log_prob(known["vector"].x).numpy()
    assert not np.allclose(wanted, known["vector"].log_prob, rtol=1e-4, atol=1e-4)
    return flow.export(tmp_path_factory.mktemp("other")), wanted


@pytest.fixture
def publish() -> Callable:
    """Copies a version as an export writes it: under a temporary name, then renamed."""

    def copy(version: Path, target: Path, mend: Callable = lambda path: None) -> None:
        beside = target.with_name(f".writing-{target.name}")
        shutil.copytree(version, beside)
        mend(beside)
        beside.rename(target)

    return copy
