"""The devices of a training: strategies by name, what they are made of, and which worker writes."""

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
    """Tells a wrong name or a wrong TF_CONFIG, before TensorFlow is imported.

    Raises:
        ValueError: If there is no such strategy, or for "multi_worker" if TF_CONFIG is missing or wrong.
    """
    if name not in STRATEGIES:
        raise ValueError(f"There is no strategy {name!r}. {did_you_mean(name, STRATEGIES)}")
    if name == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG"))


def make_strategy(name: str) -> tf.distribute.Strategy | None:
    """The strategy of a name: None for "none".

    "multi_worker" waits for the other workers, and must come before anything else that TensorFlow does.

    Args:
        name: "none", "mirrored" (all GPUs of this machine) or "multi_worker" (all machines of TF_CONFIG).

    Raises:
        ValueError: As `check_strategy`.
    """
    import tensorflow as tf

    check_strategy(name)
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return None


def describe_devices(strategy: tf.distribute.Strategy | None) -> str:
    """What a training under this strategy runs on, in one line."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    workers, index = _workers(strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync // workers
    if not gpus:
        here = "CPU (TensorFlow sees no GPU)"
    elif replicas == len(gpus):
        here = f"{len(gpus)} GPU" + "s" * (len(gpus) > 1)
    else:
        here = f"1 of {len(gpus)} GPUs (--strategy mirrored takes all)"
    if workers == 1:
        return here
    role = "which writes the run directory" if index == 0 else "worker 0 writes the run directory"
    return f"worker {index} of {workers}, {role}; here {here}"


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes."""
    return _workers(strategy)[1] == 0


@contextlib.contextmanager
def own_directory(strategy: tf.distribute.Strategy | None, run_dir: Path) -> Iterator[Path]:
    """Where this worker writes a run: the chief in the run directory, the others in one that is thrown away.

    All do the same, so that no worker ever waits for a step that another leaves out. All begin with the same
    checkpoint, the run directory's.
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
    """Says what to do when another worker is gone: TensorFlow ends a collective that lacks one."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise ConnectionError(
            f"Another worker was lost ({_reason(error.message)}). Run the same command on every worker "
            "again: the training goes on from its last whole epoch."
        ) from error


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
    """Returns when all workers have come here: one that ends early takes the others with it."""
    import tensorflow as tf

    def arrive() -> Any:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

    if strategy is not None and _workers(strategy)[0] > 1:
        strategy.run(arrive)


def _workers(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """How many workers there are, and which of them this is."""
    resolver: Any = getattr(strategy, "cluster_resolver", None)
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    if not cluster:
        return 1, 0
    tasks = [(job, index) for job in ("chief", "worker") for index in range(len(cluster.get(job, [])))]
    return len(tasks), tasks.index((resolver.task_type, resolver.task_id))


def _reason(message: str) -> str:
    """What is worth knowing of TensorFlow's paragraph on a collective that ended."""
    text = " ".join(message.split())
    return text.partition("is aborted by: ")[2][:200] or text[:200]


def _check_tf_config(text: str | None) -> None:
    if not text:
        raise ValueError(
            "--strategy multi_worker needs TF_CONFIG in the environment, which says who the workers are and "
            f"which of them this is: {_EXAMPLE}. Several GPUs of one machine: --strategy mirrored."
        )
    try:
        content = json.loads(text)
        task = content["task"]
        workers = content["cluster"][task["type"]]
        known = isinstance(workers, list) and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(f"TF_CONFIG is not what TensorFlow reads. Wanted: {_EXAMPLE}. Got: {text}")
