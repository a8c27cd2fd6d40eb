"""Loops over the steps of `fit` and `evaluate`: StepLoop, one XLA program, and PaddedSteps, one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

# Limits of a stack of batches: its bytes, and their number.
_STACK_BYTES, _MOST_STEPS = 2**24, 32


def steps_per_loop(batch_bytes: int) -> int:
    """How many batches of this size to run at a time: enough to hide Python, few enough to stack."""
    return max(1, min(_MOST_STEPS, _STACK_BYTES // max(batch_bytes, 1)))


class StepLoop:
    """A `keras.Model.train_function` that runs the next batches of an iterator in one XLA program.

    Keras launches a program for each step, and reads and writes every weight and moment around it;
    for small networks that takes longer than the step. Here up to `steps` batches are stacked and one
    program loops over them, with the weights inside (ADR 5). A short batch is padded with rows of weight 0,
    and a short stack with batches that the loop does not reach, so that one compilation serves all.

    Args:
        step: ``step(x, context, weight)`` takes one batch and updates the metrics; weight is ``[rows]``.
        logs: Returns what Keras shows, after the last step.
        steps: Batches in a stack.
    """

    def __init__(self, step: Callable, logs: Callable[[], dict], steps: int):
        self._step, self._logs, self._steps = step, logs, steps
        self._rows = 0
        self._run = tf.function(self._loop, jit_compile=True, autograph=False)

    def __call__(self, iterator: Iterator) -> dict:
        """Runs up to `steps` batches; raises StopIteration if there are none."""
        batches = [unpack(batch) for batch in itertools.islice(iterator, self._steps)]
        if not batches:
            raise StopIteration
        count = len(batches)
        self._rows = max(self._rows, *[batch[0].shape[0] for batch in batches])
        batches = [pad(batch, self._rows) for batch in batches]
        batches += [batches[-1]] * (self._steps - count)
        stacks = [None if parts[0] is None else tf.stack(parts) for parts in zip(*batches, strict=True)]
        return self._run(tf.constant(count), *stacks)

    def _loop(self, count, x, context, weight):
        stacks = {"x": x, "context": context, "weight": weight}

        def batch(i):
            i = tf.minimum(i, self._steps - 1)
            return {name: stack[i] for name, stack in stacks.items() if stack is not None}

        # The batch is a loop variable, so that it has memory of its own. If the step read it from the stack,
        # XLA would do so again in each kernel; those of splines then take several times as long.
        def body(i, current):
            self._step(current["x"], current.get("context"), current["weight"])
            return i + 1, batch(i + 1)

        first = tf.constant(0)
        tf.while_loop(lambda i, _: i < count, body, (first, batch(first)), parallel_iterations=1)
        return self._logs()


class PaddedSteps:
    """A `keras.Model.train_function` that runs batches of an iterator one by one, padded to one size.

    A short batch is padded with rows of weight 0, so that a step is compiled once.

    Args:
        step: ``step(x, context, weight)`` takes one batch; returns what Keras shows.
        steps: Batches per call.
        multiple: The number of rows is padded to a multiple of this.
        eager: Whether to run the step eagerly.
    """

    def __init__(self, step: Callable, steps: int, multiple: int = 1, eager: bool = False):
        self._steps, self._multiple = steps, multiple
        self._run = step if eager else tf.function(step, autograph=False)
        self._rows = 0
        self._iterator: Iterator | None = None

    def __call__(self, iterator: Iterator) -> dict:
        """Runs the next batches; raises StopIteration if there are none."""
        batches = [unpack(batch) for batch in itertools.islice(iterator, self._steps)]
        if not batches:
            raise StopIteration
        if iterator is not self._iterator:
            self._iterator = iterator
            self.begin_epoch(batches[0])
        most = max(int(batch[0].shape[0]) for batch in batches)
        self._rows = max(self._rows, math.ceil(most / self._multiple) * self._multiple)
        return [self._run(*pad(batch, self._rows)) for batch in batches][-1]

    def begin_epoch(self, batch: tuple) -> None:
        """Receives the first batch of an epoch before its step; does nothing by default."""


def unpack(batch) -> tuple:
    """``(x, context, weight)`` of what an iterator yields, None for each that is missing."""
    if not isinstance(batch, (tuple, list)):
        batch = (batch,)
    parts = [None if part is None else tf.convert_to_tensor(part) for part in batch]
    return (*parts, *[None] * (3 - len(parts)))


def pad(batch: tuple, size: int) -> tuple:
    """``(x, context, weight)`` of `size` rows: copies of the first row with weight 0 at the end."""
    x, context, weight = batch
    rows = int(x.shape[0])
    if weight is None:
        weight = tf.constant(np.arange(size) < rows, tf.float32)
    else:
        weight = tf.pad(tf.cast(weight, tf.float32), [[0, size - rows]])
    if rows == size:
        return x, context, weight
    return _repeat_first(x, size), None if context is None else _repeat_first(context, size), weight


def _repeat_first(tensor, rows):
    return tf.concat([tensor, tf.repeat(tensor[:1], rows - tensor.shape[0], axis=0)], axis=0)
