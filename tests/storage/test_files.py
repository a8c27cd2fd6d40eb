import hashlib
import json
import signal
import stat
import subprocess
import sys

import pytest

from flowzoo.storage import files


def test_a_successful_block_replaces_the_file(tmp_path):
    target = tmp_path / "deep" / "note.txt"
    for text in ("first", "second"):
        with files.replacing(target) as beside:
            beside.write_text(text)
            assert beside.suffix == ".txt"
        assert target.read_text() == text
    assert [entry.name for entry in target.parent.iterdir()] == ["note.txt"]


def test_a_failed_block_keeps_the_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("whole")

    def write_half():
        with files.replacing(target) as beside:
            beside.write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        write_half()
    assert target.read_text() == "whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note.txt"]


def test_a_directory_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "preset"
    for name in ("old", "new"):
        with files.replacing_directory(target) as beside:
            (beside / name).write_text(name)
    assert [entry.name for entry in target.iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["preset"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_directory_stays_when_its_block_fails(tmp_path):
    target = tmp_path / "preset"
    target.mkdir()
    (target / "old").write_text("old")

    def write_half():
        with files.replacing_directory(target) as beside:
            (beside / "new").write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        write_half()
    assert [entry.name for entry in target.iterdir()] == ["old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["preset"]


def test_json_is_written_with_indents_and_read_back(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": [1, 2.5, None]})
    assert path.read_text().startswith('{\n  "a"')
    assert files.read_json(path) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("content", [b"{half", b"\xff\xfe"])
def test_broken_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON.*the file is damaged"):
        files.read_json(path)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_sha256_is_the_digest_of_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"flow")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"flow").hexdigest()


# -- killed processes ------------------------------------------------------------------------------
KILLED = """
import os, pathlib, signal, sys
from flowzoo.storage import files
target = pathlib.Path(sys.argv[1])
with files.replacing_directory(target) as beside:
    (beside / "new").write_text("half")
    if sys.argv[2] == "inside":
        os.kill(os.getpid(), signal.SIGKILL)
    exchange = files._exchange
    def exchange_then_die(*names):
        exchange(*names)
        os.kill(os.getpid(), signal.SIGKILL)
    files._exchange = exchange_then_die
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems have no exchange of two names.")
@pytest.mark.parametrize("when", ["inside", "after the exchange"])
def test_a_kill_leaves_the_old_or_the_new_directory_and_the_next_call_cleans_up(tmp_path, when):
    target = tmp_path / "preset"
    target.mkdir()
    (target / "old").write_text("whole")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), when])
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in target.iterdir()] == (["old"] if when == "inside" else ["new"])
    assert len(list(tmp_path.iterdir())) == 2
    with files.replacing_directory(target) as beside:
        (beside / "newer").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    assert [path.name for path in target.iterdir()] == ["newer"]


def test_a_users_hidden_directory_is_no_orphan(tmp_path):
    for name in (".git", ".preset.tmp-mine", ".x.flowzoo-elsewhere-1-abc"):
        (tmp_path / name).mkdir()
    with files.replacing_directory(tmp_path / "preset"):
        pass
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_directory_is_replaced_with_and_without_an_exchange_of_names(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    for word in ("first", "second"):
        with files.replacing_directory(tmp_path / "preset") as beside:
            (beside / word).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "second"]
