"""The progress line and the progress bar."""

import io
import re
from types import SimpleNamespace

import pytest
import rich.console

from flowzoo.recipes import progress as module
from flowzoo.recipes.progress import Progress


def shown(is_terminal, monkeypatch, is_image=False):
    """The output of three epochs of ten steps of 100 rows; a step takes a second, validation ten."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    console = rich.console.Console(file=file, force_terminal=is_terminal, width=100, color_system=None)
    name = "bits_per_dim" if is_image else "nll"
    with Progress(100, console) as progress:
        progress.set_params({"epochs": 3, "steps": 10, "verbose": 0})
        progress.set_model(
            SimpleNamespace(
                metrics=[SimpleNamespace(name=n) for n in ["loss", "nll", *["bits_per_dim"] * is_image]]
            )
        )
        progress.on_train_begin()
        for epoch in range(3):
            progress.on_epoch_begin(epoch)
            for step in range(10):
                now[0] += 1.0
                progress.on_train_batch_end(step, {name: 3.0 - epoch, "loss": 9.0})
            now[0] += 10.0
            progress.on_epoch_end(epoch, {name: 3.0 - epoch, f"val_{name}": 3.5 - epoch})
            if epoch == 0:
                progress._bar.refresh()
    return file.getvalue()


def test_each_epoch_prints_a_line(monkeypatch):
    assert shown(False, monkeypatch).splitlines() == [
        "epoch 1/3: 3.0000 nats, validation 3.5000, 100 rows/s, 0:40 left",
        "epoch 2/3: 2.0000 nats, validation 2.5000, 100 rows/s, 0:20 left",
        "epoch 3/3: 1.0000 nats, validation 1.5000, 100 rows/s",
    ]


def test_images_show_bits_per_dim(monkeypatch):
    assert "epoch 1/3: 3.0000 bits/dim, validation 3.5000, " in shown(False, monkeypatch, is_image=True)


def test_a_terminal_also_shows_a_bar_and_restores_the_cursor(monkeypatch):
    text = shown(True, monkeypatch)
    assert "epoch 2/3: 2.0000 nats, validation 2.5000, 100 rows/s, 0:20 left" in text
    assert re.search(r"epoch 1/3 \S*━\S* +3\.0000 nats, 100 rows/s, \d:\d\d left", text)
    hidden, back = "\x1b[?25l", "\x1b[?25h"
    assert text.rindex(back) > text.rindex(hidden)


def test_a_stopped_training_restores_the_cursor():
    file = io.StringIO()
    console = rich.console.Console(file=file, force_terminal=True, width=100)

    def train():
        with Progress(100, console) as progress:
            progress.set_params({"epochs": 3, "steps": 10, "verbose": 0})
            progress.on_epoch_begin(0)
            assert "\x1b[?25l" in file.getvalue()
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        train()
    assert "\x1b[?25h" in file.getvalue()


@pytest.mark.parametrize(("seconds", "clock"), [(0.4, "0:00"), (61, "1:01"), (3661.2, "1:01:01")])
def test_the_time_left(seconds, clock):
    assert module._clock(seconds) == clock
