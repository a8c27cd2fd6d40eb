"""Importing TensorFlow by flowzoo: without the garbage collector's walks, which leaves no traces."""

import gc
import subprocess
import sys

import pytest

from flowzoo.backend.imports import collector_waiting

# Counts full walks from the start of the process to the first density.
COLD = """
import gc
walks = []
gc.callbacks.append(lambda phase, info: walks.append(info["generation"]))
{first}
import numpy as np
import flowzoo
flow = flowzoo.create_model("realnvp", (6,), steps=2)
assert gc.isenabled() and gc.get_freeze_count() == 0
flow.log_prob(np.zeros((4, 6), "float32"))
print(walks.count(2) // 2)
"""


def full_walks(first=""):
    code = COLD.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_cold_start_has_hardly_a_full_walk():
    assert full_walks() <= 1
    assert full_walks("import tensorflow, tensorflow_probability") >= 3


def test_what_there_was_is_old_and_still_collected():
    class Node:
        pass

    dropped = []
    with collector_waiting():
        node = Node()
        node.itself = node
        node.finalizer = Finalizer(dropped)
        del node
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not dropped
    gc.collect()
    assert dropped == ["dropped"]


class Finalizer:
    def __init__(self, dropped):
        self._dropped = dropped

    def __del__(self):
        self._dropped.append("dropped")


def test_an_error_lets_the_collector_go_on():
    with pytest.raises(ImportError), collector_waiting():
        raise ImportError
    assert gc.isenabled()


def test_someone_elses_plan_is_left_alone():
    gc.disable()
    try:
        with collector_waiting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collector_waiting():
            assert gc.isenabled()
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
