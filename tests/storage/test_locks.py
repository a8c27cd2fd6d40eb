import os
import subprocess
import sys

import pytest

from flowzoo.storage.locks import held

HOLD = """
import pathlib, sys
from flowzoo.storage.locks import held
with held(pathlib.Path(sys.argv[1]), "a training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_a_lock_names_its_owner(tmp_path, holder):
    message = rf"in use: a training of process {holder.pid} on .*since"
    with pytest.raises(RuntimeError, match=message), held(tmp_path, "a training"):
        pass


def test_a_killed_owner_releases_it(tmp_path, holder):
    holder.kill()
    holder.wait(30)
    with held(tmp_path, "a training"):
        assert f"process {os.getpid()}" in (tmp_path / ".flowzoo.lock.owner").read_text()
    assert not (tmp_path / ".flowzoo.lock.owner").exists()
