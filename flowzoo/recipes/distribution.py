"""Distributed training: strategies by name, their devices, and the worker that writes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowzoo.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi_worker")

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}, with '
    "another index on each machine"
)


def check_strategy(name: str) -> None:
    """Rejects a wrong name or a wrong TF_CONFIG before TensorFlow is imported.

    Raises:
        ValueError: If there is no such strategy, or for "multi_worker" if TF_CONFIG is missing or wrong.
    """
    if name not in STRATEGIES:
        raise ValueError(f"There is no strategy {name!r}. {did_you_mean(name, STRATEGIES)}")
    if name == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG"))


def make_strategy(name: str) -> tf.distribute.Strategy | None:
    """The strategy of this name; None for "none".

    "multi_worker" waits for the other workers and must be created before TensorFlow does anything else.

    Args:
        name: "none", "mirrored" (all GPUs of this machine) or "multi_worker" (all machines of TF_CONFIG).

    Raises:
        ValueError: As for `check_strategy`.
    """
    import tensorflow as tf

    check_strategy(name)
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return None


def describe_devices(strategy: tf.distribute.Strategy | None) -> str:
    """Describes in one line the devices of a training under this strategy."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    workers, index = _workers(strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync // workers
    if not gpus:
        here = "CPU (TensorFlow sees no GPU)"
    elif replicas == len(gpus):
        here = f"{len(gpus)} GPU" + "s" * (len(gpus) > 1)
    else:
        here = f"1 of {len(gpus)} GPUs (--strategy mirrored uses all)"
    if workers == 1:
        return here
    role = "which writes the run directory" if index == 0 else "worker 0 writes the run directory"
    return f"worker {index} of {workers}, {role}; here {here}"


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process writes the run directory."""
    return _workers(strategy)[1] == 0


@contextlib.contextmanager
def own_directory(strategy: tf.distribute.Strategy | None, run_dir: Path) -> Iterator[Path]:
    """The directory that this worker writes: the run directory for the chief, a temporary one for the others.

    All workers take the same steps, so that none waits for a step that another skips. All start from the run
    directory's checkpoint.
    """
    if is_chief(strategy):
        yield run_dir
        return
    with tempfile.TemporaryDirectory(prefix="flowzoo-worker-") as own:
        if (run_dir / "checkpoints").is_dir():
            shutil.copytree(run_dir / "checkpoints", Path(own) / "checkpoints")
        yield Path(own)


@contextlib.contextmanager
def telling_of_lost_workers() -> Iterator[None]:
    """Raises a clear error when another worker is lost and TensorFlow aborts the collective operation."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise ConnectionError(
            f"Another worker was lost ({_reason(error.message)}). Run the same command on every worker "
            "again: the training resumes from its last complete epoch."
        ) from error


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
    """Waits until all workers arrive here: a worker that exits early would abort the others."""
    import tensorflow as tf

    def arrive() -> Any:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

    if strategy is not None and _workers(strategy)[0] > 1:
        strategy.run(arrive)


def _workers(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """The number of workers and the index of this one."""
    resolver: Any = getattr(strategy, "cluster_resolver", None)
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    if not cluster:
        return 1, 0
    tasks = [(job, index) for job in ("chief", "worker") for index in range(len(cluster.get(job, [])))]
    return len(tasks), tasks.index((resolver.task_type, resolver.task_id))


def _reason(message: str) -> str:
    """The cause in TensorFlow's long message about an aborted collective operation."""
    text = " ".join(message.split())
    return text.partition("is aborted by: ")[2][:200] or text[:200]


def _check_tf_config(text: str | None) -> None:
    if not text:
        raise ValueError(
            "--strategy multi_worker needs TF_CONFIG in the environment, which lists the workers and the "
            f"index of this one: {_EXAMPLE}. For several GPUs of one machine, use --strategy mirrored."
        )
    try:
        content = json.loads(text)
        task = content["task"]
        workers = content["cluster"][task["type"]]
        known = isinstance(workers, list) and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(f"TF_CONFIG is not valid. Expected: {_EXAMPLE}. Got: {text}")
