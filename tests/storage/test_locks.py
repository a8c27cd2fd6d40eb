import multiprocessing
import os

import pytest

from flowzoo.storage.locks import held


def hold(directory, ready, done):
    with held(directory, "a training"):
        ready.set()
        done.wait(30)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, done))
    process.start()
    assert ready.wait(30)
    yield process
    done.set()
    process.join(30)


def test_a_lock_names_its_owner(tmp_path, holder):
    message = rf"in use: a training of process {holder.pid} on .*since"
    with pytest.raises(RuntimeError, match=message), held(tmp_path, "a training"):
        pass


def test_a_killed_owner_releases_it(tmp_path, holder):
    holder.kill()
    holder.join(30)
    with held(tmp_path, "a training"):
        assert f"process {os.getpid()}" in (tmp_path / ".flowzoo.lock.owner").read_text()
    assert not (tmp_path / ".flowzoo.lock.owner").exists()
