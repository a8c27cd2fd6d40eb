"""flowzoo imports TensorFlow without full garbage collections, and without side effects."""

import gc
import subprocess
import sys

import pytest

from flowzoo.backend.imports import collector_waiting

# Counts full collections from the start of the process to the first density.
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


def test_a_cold_start_has_few_full_collections():
    assert full_walks() <= 1
    assert full_walks("import tensorflow, tensorflow_probability") >= 3


def test_existing_objects_are_old_and_still_collected():
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


def test_the_collector_is_enabled_again_after_an_error():
    with pytest.raises(ImportError), collector_waiting():
        raise ImportError
    assert gc.isenabled()


def test_a_disabled_collector_stays_disabled():
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
