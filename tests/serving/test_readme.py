"""Runs the first commands of serving/README.md, with another server and port."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flowzoo

README = Path(__file__).parents[2] / "serving" / "README.md"


def lines():
    (block, *_) = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    return block.replace("\\\n", "").splitlines()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_from_a_preset_to_curl(tmp_path):
    export, docker, *curls = lines()
    assert docker.startswith("docker run ")
    assert len(curls) == 2
    flow = flowzoo.from_pretrained("maf_two_moons")
    # Use the `flowzoo` of this Python, whatever is on the PATH.
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/flowzoo"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from flowzoo.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = {"shell": True, "cwd": tmp_path, "env": environment, "text": True}
    subprocess.run(export, check=True, **options)
    port = free_port()
    serve = ["flowzoo", "serve", "models", "--port", str(port), "--grpc-port", "0"]
    server = subprocess.Popen(serve, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == f"REST http://127.0.0.1:{port}/v1/models/maf_two_moons:predict\n"
        replies = []
        for curl in curls:
            asked = curl.replace("localhost:8501", f"127.0.0.1:{port}").replace("curl ", "curl -sS ")
            replies.append(
                json.loads(subprocess.run(asked, check=True, capture_output=True, **options).stdout)
            )
    finally:
        server.terminate()
        server.wait(30)
    score, samples = (reply["outputs"] for reply in replies)
    x = np.array(json.loads(re.search("'(.*)'", curls[0])[1])["inputs"]["x"], "float32")
    np.testing.assert_allclose(score["log_prob"], flow.log_prob(x), rtol=1e-4)
    assert score["valid"] == [True]
    np.testing.assert_allclose(samples, flow.sample(seed=np.array([1, 2])), rtol=1e-3, atol=1e-3)
