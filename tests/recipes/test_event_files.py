"""The event files that TensorBoard reads."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from flowzoo.recipes.event_files import EventFiles

ROWS = [
    {"nll": 2.0, "val_nll": 2.5, "learning_rate": 0.1, "epoch": 1.0, "seconds": 3.0},
    {"nll": 1.0, "val_nll": 1.5, "learning_rate": 0.0, "epoch": 2.0, "seconds": 5.0},
]


def points(folder):
    (path,) = folder.glob("events.out.tfevents.*")
    events = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    assert events[0].file_version == "brain.Event:2"
    found = [(v.tag, e.step, v.simple_value, e.wall_time) for e in events for v in e.summary.value]
    return {(tag, step): (value, when) for tag, step, value, when in found}, len(found)


@pytest.fixture
def checkpoint():
    return SimpleNamespace(history=[], seconds=0.0)


def epoch(callback, checkpoint, number):
    checkpoint.history.append(ROWS[number])
    callback.on_epoch_end(number, {})


def test_one_point_for_each_metric_and_epoch(checkpoint, tmp_path):
    callback = EventFiles(checkpoint, tmp_path / "logs")
    callback.on_train_begin()
    for number in range(2):
        epoch(callback, checkpoint, number)
    trained, count = points(tmp_path / "logs/train")
    assert count == 4
    assert {key: value for key, (value, _) in trained.items()} == {
        ("nll", 1): 2.0,
        ("nll", 2): 1.0,
        ("learning_rate", 1): pytest.approx(0.1),
        ("learning_rate", 2): 0.0,
    }
    assert trained["nll", 2][1] - trained["nll", 1][1] == pytest.approx(2.0, abs=1e-3)
    checked, _ = points(tmp_path / "logs/validation")
    assert {key: value for key, (value, _) in checked.items()} == {("nll", 1): 2.5, ("nll", 2): 1.5}
    callback.on_train_end()


def test_a_resumed_run_has_every_point_once(checkpoint, tmp_path):
    """The first run was killed between the checkpoint and the events of its second epoch."""
    first = EventFiles(checkpoint, tmp_path / "logs")
    first.on_train_begin()
    epoch(first, checkpoint, 0)
    checkpoint.history.append(ROWS[1])
    second = EventFiles(checkpoint, tmp_path / "logs")
    second.on_train_begin()
    second.on_train_end()
    trained, count = points(tmp_path / "logs/train")
    assert count == len(trained) == 4


def test_without_validation_there_is_one_folder(checkpoint, tmp_path):
    callback = EventFiles(checkpoint, tmp_path / "logs")
    callback.on_train_begin()
    checkpoint.history.append({"nll": 1.0, "epoch": 1.0, "seconds": 1.0})
    callback.on_epoch_end(0)
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["train"]
