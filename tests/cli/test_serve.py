"""flowzoo serve."""

import re
import signal
import subprocess
import sys

from flowzoo.client import Client


def test_the_server_prints_a_note_answers_and_stops_at_ctrl_c(succeed, preset, tmp_path):
    succeed("export", preset, "models/pairs")
    code = "from flowzoo.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "models", "--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        rest, rpc = process.stdout.readline(), process.stdout.readline()
        url = re.fullmatch(r"REST (http://127\.0\.0\.1:\d+)/v1/models/pairs:predict\n", rest)[1]
        address = re.fullmatch(r"gRPC (127\.0\.0\.1:\d+)\n", rpc)[1]
        with Client(url, "pairs") as one, Client(f"grpc://{address}", "pairs") as other:
            samples = one.sample(3, seed=1)
            assert samples.shape == (3, 2)
            assert (samples == other.sample(3, seed=1)).all()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == "stopped\n"
    # It follows TensorFlow's own notes about the machine.
    note = "note: this server is for development: unlike TensorFlow Serving, it does not batch."
    assert err.splitlines()[-1] == note


def test_mistakes(fail, tmp_path):
    assert "There is no directory nope" in fail("serve", "nope")
    (tmp_path / "empty").mkdir()
    assert "holds no model" in fail("serve", "empty")
    assert "There is no file nope.config" in fail("serve", "empty", "--config", "nope.config")
    assert "--port" in fail("serve", "empty", "--port", "70000")
