"""Ports, start and stop; tests/conversation covers requests and replies."""

import gzip
import socket
import subprocess
import sys
import time
import zlib

import pytest
import requests

from flowzoo.devserver import Server
from flowzoo.devserver.models import Model


@pytest.fixture
def model(write, tmp_path):
    (tmp_path / "toy").mkdir()
    write(tmp_path / "toy", 1, 2.0)
    return tmp_path / "toy"


def test_the_server_listens_on_this_machine_and_stops(model):
    with Server(model) as server:
        url = f"http://{server.rest_address}/v1/models/toy:predict"
        assert server.rest_address.startswith("127.0.0.1:")
        assert server.grpc_address.startswith("127.0.0.1:")
        assert requests.post(url, '{"inputs": [[1, 2]]}', timeout=10).json() == {"outputs": [[2.0, 4.0]]}
    with pytest.raises(requests.ConnectionError):
        requests.post(url, "{}", timeout=10)


@pytest.mark.parametrize("which", ["rest_port", "grpc_port"])
def test_a_port_in_use(model, which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"Cannot listen on 127\.0\.0\.1:{port}"):
            Server(model, **{which: port})


def test_two_servers_do_not_share_a_port(model):
    with Server(model) as first:
        port = int(first.grpc_address.partition(":")[2])
        with pytest.raises(ValueError, match=rf"Cannot listen on 127\.0\.0\.1:{port}"):
            Server(model, grpc_port=port)


def test_a_folder_that_changes_while_it_is_read_is_read_again(write, model, monkeypatch):
    failures, refresh = iter([True] * 3), Model.refresh

    def disturbed(self):
        if next(failures, False):
            raise FileNotFoundError("gone")
        return refresh(self)

    with Server(model, poll_seconds=0.02) as server:
        monkeypatch.setattr(Model, "refresh", disturbed)
        write(model, 2)
        end = time.monotonic() + 20
        (served,) = server.models
        while served.find().number != 2:
            assert time.monotonic() < end, "the poll thread died"
            time.sleep(0.02)
    assert not next(failures, False)


def test_compressed_bodies(model):
    plain = b'{"inputs": [[1, 2]]}'
    with Server(model) as server:
        url = f"http://{server.rest_address}/v1/models/toy:predict"

        def post(body, **headers):
            return requests.post(url, body, headers={"Content-Encoding": "gzip", **headers}, timeout=30)

        assert post(gzip.compress(plain)).json() == {"outputs": [[2.0, 4.0]]}
        for bad in (plain, gzip.compress(plain)[:-9], zlib.compress(plain), gzip.compress(b" " * 2**27)):
            assert post(bad).status_code == 400
            assert "JSON Parse error" in post(bad).json()["error"]


def test_without_grpc_the_error_names_the_extra():
    code = "import sys; sys.modules['grpc'] = None\nfrom flowzoo.devserver import Server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: The server needs grpcio: pip install 'flowzoo[serving]'."
    )
