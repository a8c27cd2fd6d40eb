"""What runs the steps of fit and evaluate: StepLoop, many as one XLA program, and FilledSteps, one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

# What a stack of batches may take, in bytes, and how many there are in it at most.
_STACK_BYTES, _MOST_STEPS = 2**24, 32


def steps_in_a_loop(batch_bytes: int) -> int:
    """How many batches of so many bytes to run at a time: enough to hide Python, few enough to stack."""
    return max(1, min(_MOST_STEPS, _STACK_BYTES // max(batch_bytes, 1)))


class StepLoop:
    """What `keras.Model.train_function` is: runs the next batches of an iterator.

    Keras launches a program for each step, and reads and writes every weight and moment around it;
    for small networks that takes longer than the step. Here up to `steps` batches are stacked and one
    program walks over them, with the weights inside. A short batch is filled up with rows of weight 0 and a
    short stack with batches that are not walked over, so that there is one compilation for all.

    Args:
        step: ``step(x, context, weight)`` takes one batch and updates the metrics; weight is ``[rows]``.
        logs: Returns what Keras shows, after the last step.
        steps: Batches in a stack.
    """

    def __init__(self, step: Callable, logs: Callable[[], dict], steps: int):
        self._step, self._logs, self._steps = step, logs, steps
        self._rows = 0
        self._walk_compiled = tf.function(self._walk, jit_compile=True, autograph=False)

    def __call__(self, iterator: Iterator) -> dict:
        """Runs up to `steps` batches; raises StopIteration if there are none."""
        batches = [parts_of(batch) for batch in itertools.islice(iterator, self._steps)]
        if not batches:
            raise StopIteration
        count = len(batches)
        self._rows = max(self._rows, *[batch[0].shape[0] for batch in batches])
        batches = [filled(batch, self._rows) for batch in batches]
        batches += [batches[-1]] * (self._steps - count)
        stacks = [None if parts[0] is None else tf.stack(parts) for parts in zip(*batches, strict=True)]
        return self._walk_compiled(tf.constant(count), *stacks)

    def _walk(self, count, x, context, weight):
        stacks = {"x": x, "context": context, "weight": weight}

        def batch(i):
            i = tf.minimum(i, self._steps - 1)
            return {name: stack[i] for name, stack in stacks.items() if stack is not None}

        # A batch is a variable of the loop, so that it has memory of its own. If the step took it from the
        # stack, XLA would do so anew within each kernel that needs it; those of splines then take several
        # times as long.
        def body(i, now):
            self._step(now["x"], now.get("context"), now["weight"])
            return i + 1, batch(i + 1)

        first = tf.constant(0)
        tf.while_loop(lambda i, _: i < count, body, (first, batch(first)), parallel_iterations=1)
        return self._logs()


class FilledSteps:
    """What `keras.Model.train_function` is: runs the next batches of an iterator, which all have one size.

    A short batch is filled up with rows of weight 0, so that a step is compiled once.

    Args:
        step: ``step(x, context, weight)`` takes one batch; returns what Keras shows.
        steps: Batches a call.
        multiple: Of what the number of rows is.
        eager: Whether to run the step eagerly.
    """

    def __init__(self, step: Callable, steps: int, multiple: int = 1, eager: bool = False):
        self._steps, self._multiple = steps, multiple
        self._run = step if eager else tf.function(step, autograph=False)
        self._rows = 0
        self._iterator: Iterator | None = None

    def __call__(self, iterator: Iterator) -> dict:
        """Runs the next batches; raises StopIteration if there are none."""
        batches = [parts_of(batch) for batch in itertools.islice(iterator, self._steps)]
        if not batches:
            raise StopIteration
        if iterator is not self._iterator:
            self._iterator = iterator
            self.begin_epoch(batches[0])
        most = max(int(batch[0].shape[0]) for batch in batches)
        self._rows = max(self._rows, math.ceil(most / self._multiple) * self._multiple)
        return [self._run(*filled(batch, self._rows)) for batch in batches][-1]

    def begin_epoch(self, batch: tuple) -> None:
        """Sees the first batch of an epoch before its step."""


def parts_of(batch) -> tuple:
    """``(x, context, weight)`` of what the iterator yields, None where there is none."""
    if not isinstance(batch, (tuple, list)):
        batch = (batch,)
    parts = [None if part is None else tf.convert_to_tensor(part) for part in batch]
    return (*parts, *[None] * (3 - len(parts)))


def filled(batch: tuple, size: int) -> tuple:
    """The parts of a batch, filled up to `size` rows with copies of the first, of weight 0."""
    x, context, weight = batch
    rows = int(x.shape[0])
    if weight is None:
        weight = tf.constant(np.arange(size) < rows, tf.float32)
    else:
        weight = tf.pad(tf.cast(weight, tf.float32), [[0, size - rows]])
    if rows == size:
        return x, context, weight
    return _fill(x, size), None if context is None else _fill(context, size), weight


def _fill(tensor, rows):
    return tf.concat([tensor, tf.repeat(tensor[:1], rows - tensor.shape[0], axis=0)], axis=0)
