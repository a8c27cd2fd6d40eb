"""Times flowzoo on the same work as the other flow libraries: one JSON line on stdout.

    python benchmarks/bench.py --task sample --case maf512 --dim 64
    python benchmarks/bench.py --task train --case realnvp --dim 6 --batch 512
    python benchmarks/bench.py --task fit --case nsf --data two_moons --seconds 5
    python ../shared/peers/run_all.py --extra "flowzoo=python benchmarks/bench.py"

`--variant auto` tries the settings that a user can change, each in its own process. It reports the fastest as
the value, and all of them under `variants`. `train` times the steps that `flow.fit` runs; `fit` runs
`flow.fit` itself. `--task sample` of a masked autoregressive flow and `--task log_prob` of an inverse one
also report `over_fast_direction`: the time of the slow direction over that of the fast direction, in the same
process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

LAYERS = {"realnvp": 8, "maf": 5, "iaf": 5, "nsf": 5, "planar": 16, "radial": 16}
GLOW_SHAPES = {1024: (32, 32, 1), 3072: (32, 32, 3)}
FIT_BATCH = 512
UNITS = {"cold": "s", "fit": "nats"}
# Settings that a user can change: XLA, and a callback after each step.
VARIANTS = {"train": ("default", "xla", "graph", "single"), "fit": ("default", "single")}
USE_XLA = {"xla": True, "graph": False}


def main() -> int:
    """Runs one benchmark, or with `--variant auto` each variant in its own process."""
    arguments = parse()
    if arguments.variant != "auto":
        print(json.dumps(run(arguments)), flush=True)
        return 0
    results, failed = {}, {}
    skipped = os.environ.get("BENCH_SKIP_VARIANTS", "").split(",")
    for variant in VARIANTS.get(arguments.task, ("default", "xla", "graph")):
        same = variant in USE_XLA and results.get("default", {}).get("use_xla") == USE_XLA[variant]
        if same or variant in skipped:
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=arguments.variant_timeout)
        except subprocess.TimeoutExpired:
            failed[variant] = f"longer than {arguments.variant_timeout:g} s"
            continue
        if child.returncode:
            failed[variant] = (child.stderr.strip().splitlines() or ["no output"])[-1][:300]
        else:
            results[variant] = json.loads(child.stdout.splitlines()[-1])
    if not results:
        print(json.dumps({"peer": "flowzoo", "error": "every variant failed", "failed": failed}))
        return 1
    best = dict(min(results.values(), key=lambda result: result["per_step_ms_median"]))
    keep = ("value", "per_step_ms_median", "iqr", "compile_s", "steps", "other_cores")
    best["variants"] = {
        name: {key: result[key] for key in keep if key in result} for name, result in results.items()
    }
    if failed:
        best["failed"] = failed
    print(json.dumps(best), flush=True)
    return 0


def parse() -> argparse.Namespace:
    """The command line, which is the same as that of the peers' benchmark scripts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True, choices=("train", "log_prob", "sample", "cold", "fit"))
    parser.add_argument(
        "--case", required=True, help="an architecture, with an optional hidden width: maf512"
    )
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", default="two_moons", help="data of the task fit")
    parser.add_argument("--clock", default="warm", choices=("warm", "cold"), help="clock of the task fit")
    parser.add_argument("--variant", default="auto", choices=("auto", "default", "xla", "graph", "single"))
    parser.add_argument("--variant-timeout", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", type=Path, default=Path("../shared/peers"), help="folder of data.py")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> dict:
    """Runs one benchmark in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    limit_threads(arguments.threads)
    if arguments.task == "cold":
        flow, seconds = cold_start(arguments)
        total = sum(seconds.values())
        timing = {"value": total, "per_step_ms_median": 1e3 * total, "iqr": 0.0}
        return {**describe(flow, arguments), **timing, **seconds}
    import keras
    import tensorflow as tf

    import flowzoo

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    keras.utils.set_random_seed(arguments.seed)
    flow = build(flowzoo, arguments)
    record = describe(flow, arguments)
    if arguments.task == "fit":
        return {**record, **time_fit(flow, arguments)}
    x = rows(flow, arguments)
    rng = np.random.default_rng(0)
    # Move the flow away from the identity, so that no layer is trivial.
    for variable in flow.trainable_variables:
        variable.assign_add(0.01 * rng.standard_normal(variable.shape))
    timings = {"train": time_train, "log_prob": time_log_prob, "sample": time_sample}[arguments.task]
    timing = timings(flow, x, arguments)
    return {**record, "value": 1e3 * arguments.batch / timing["per_step_ms_median"], **timing}


def cold_start(arguments, say=lambda part: None):
    """Runs a user's script up to the first density; returns the flow and the seconds of each part.

    Args:
        arguments: The command line.
        say: Function to call at the end of each part, with its name.
    """
    import flowzoo
    from flowzoo.backend.imports import import_tensorflow

    seconds: dict[str, float] = {}

    def end(part):
        seconds[part] = process_age() - sum(seconds.values())
        say(part)

    import_tensorflow()  # `create_model` would import it next.
    end("import_s")
    flow = build(flowzoo, arguments)
    end("build_s")
    flow.log_prob(rows(flow, arguments)).numpy()
    end("first_s")
    return flow, seconds


def describe(flow, arguments) -> dict:
    """The fields that every benchmark reports."""
    import keras
    import tensorflow as tf

    import flowzoo

    return {
        "peer": "flowzoo",
        "version": f"{flowzoo.__version__} (tf {tf.__version__}, keras {keras.__version__})",
        "task": arguments.task,
        "case": arguments.case,
        "batch": FIT_BATCH if arguments.task == "fit" else arguments.batch,
        "dim": 2 if arguments.task == "fit" else arguments.dim,
        "variant": arguments.variant,
        "use_xla": flow.use_xla,
        "threads": arguments.threads,
        "seconds": arguments.seconds,
        "params": int(sum(math.prod(v.shape) for v in flow.trainable_variables)),
        "unit": UNITS.get(arguments.task, "rows/s"),
    }


def rows(flow, arguments) -> np.ndarray:
    """One batch, inside the splines' bounds."""
    x = np.random.default_rng(0).standard_normal((arguments.batch, *flow.event_shape))
    return np.clip(x, -2.9, 2.9).astype(np.float32)


def build(flowzoo, arguments):
    """Builds the flow of a case and variant with the public API."""
    case, width = re.fullmatch(r"([a-z]+)(\d+)?", arguments.case).groups()
    hidden = (int(width or 128),) * 2
    options: dict = {"preprocessing": "none"}
    shape = (2 if arguments.task == "fit" else arguments.dim,)
    if case == "realnvp" or case in ("maf", "iaf"):
        options |= {"steps": LAYERS[case], "hidden_units": hidden, "actnorm": False}
    elif case in ("planar", "radial"):
        # As with the peers: the closed form is for sampling in the task sample, and for densities otherwise.
        options |= {"steps": LAYERS[case], "closed": "forward" if arguments.task == "sample" else "inverse"}
    elif case == "glow":
        shape = GLOW_SHAPES[arguments.dim]
        options |= {"levels": 3, "steps": 8, "channels": 64}
    elif case == "nsf":
        options |= {"steps": LAYERS[case], "hidden_units": hidden, "identity_spline": False, "linear": "none"}
    flow = flowzoo.create_model(case, shape, **options)
    flow.use_xla = USE_XLA.get(arguments.variant, flow.use_xla)
    return flow


def compile_with(flow, learning_rate, arguments):
    """Compiles the flow with Adam, as the peers do."""
    import keras

    steps = {"steps_per_execution": 1} if arguments.variant == "single" else {}
    flow.adapted.assign(1.0)
    flow.compile(keras.optimizers.Adam(learning_rate), **steps)


def time_log_prob(flow, x, arguments) -> dict:
    """Times densities of one batch. It is a tensor, as the peers' batches are their own tensors."""
    import tensorflow as tf

    x = tf.constant(x)
    result = timed(lambda: flow.log_prob(x).numpy(), arguments.seconds)
    result["check"] = float(flow.log_prob(x).numpy().mean())
    if arguments.case.startswith("iaf"):
        other = timed(lambda: flow.sample(arguments.batch).numpy(), arguments.seconds)
        result["over_fast_direction"] = result["per_step_ms_median"] / other["per_step_ms_median"]
    return result


def time_sample(flow, x, arguments) -> dict:
    """Times samples of one batch, whose seeds are a tensor."""
    import tensorflow as tf

    import flowzoo

    seeds = tf.constant(flowzoo.random.row_seeds(0, arguments.batch))
    result = timed(lambda: flow.sample(seed=seeds).numpy(), arguments.seconds)
    result["check"] = float(flow.sample(seed=seeds).numpy().std())
    if arguments.case.startswith("maf"):
        other = timed(lambda: flow.log_prob(x).numpy(), arguments.seconds)
        result["over_fast_direction"] = result["per_step_ms_median"] / other["per_step_ms_median"]
    return result


def time_train(flow, x, arguments) -> dict:
    """Times the steps of `flow.fit` on one batch: the function that Keras calls for every few steps."""
    import tensorflow as tf

    compile_with(flow, 1e-5, arguments)
    batches = tf.data.Dataset.from_tensors(x).repeat()
    # A short fit does the setup of `fit` and compiles.
    start = time.perf_counter()
    flow.fit(batches.take(1), verbose=0)
    compile_s = time.perf_counter() - start
    iterator, steps = iter(batches), flow.steps_per_execution
    result = timed(lambda: float(flow.train_function(iterator)["loss"]), arguments.seconds)
    for key in ("per_step_ms_median", "iqr", "min_ms"):
        result[key] /= steps
    steps_done = result["steps"] * steps
    return {**result, "steps": steps_done, "steps_per_execution": steps, "compile_s": compile_s}


def time_fit(flow, arguments) -> dict:
    """Runs `flow.fit` for the given seconds on the rows that the peers fit; reports test nats."""
    import keras

    path = arguments.peers / "data.py"
    if not path.is_file():
        raise SystemExit(
            f"The task fit reads its rows from the peers' data.py, but {path} does not exist: give --peers."
        )
    spec = importlib.util.spec_from_file_location("peers_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    train, test = module.toy(arguments.data)
    compile_with(flow, 1e-3, arguments)

    class Clock(keras.callbacks.Callback):
        start = time.perf_counter() if arguments.clock == "cold" else None
        first = steps = 0

        def on_train_batch_end(self, batch, logs=None):
            now = time.perf_counter()
            if self.start is None:
                self.start, self.first = now, int(self.model.optimizer.iterations)
            self.steps = int(self.model.optimizer.iterations)
            self.model.stop_training = now - self.start >= arguments.seconds

    clock = Clock()
    with Others() as others:
        flow.fit(train, batch_size=FIT_BATCH, epochs=10**6, callbacks=[clock], verbose=0)
    wall = time.perf_counter() - clock.start
    nll = -float(flow.log_prob(test).numpy().astype("float64").mean())
    return {
        "value": nll,
        "per_step_ms_median": 1e3 * wall / max(clock.steps - clock.first, 1),
        "iqr": 0.0,
        "steps": clock.steps,
        "wall_s": wall,
        "data": arguments.data,
        "clock": arguments.clock,
        "other_cores": others.cores,
    }


def timed(step, seconds: float) -> dict:
    """Median and interquartile range of a call that waits for its result."""
    start = time.perf_counter()
    step()
    compile_s = time.perf_counter() - start
    start, warm = time.perf_counter(), 0
    while warm < 2 or (warm < 50 and time.perf_counter() - start < 0.25 * seconds):
        step()
        warm += 1
    times = []
    with Others() as others:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - start))
    times.sort()
    quarter = len(times) // 4
    return {
        "per_step_ms_median": times[len(times) // 2],
        "iqr": times[-1 - quarter] - times[quarter],
        "min_ms": times[0],
        "steps": len(times),
        "compile_s": compile_s,
        "other_cores": others.cores,
    }


class Others:
    """Measures how many cores other processes keep busy while a block runs."""

    def __enter__(self):
        self._start = time.perf_counter(), busy_seconds(), time.process_time()
        return self

    def __exit__(self, *_):
        wall, busy, own = (
            now - then
            for now, then in zip(
                (time.perf_counter(), busy_seconds(), time.process_time()), self._start, strict=True
            )
        )
        self.cores = max(0.0, (busy - own) / wall)


def busy_seconds() -> float:
    """CPU seconds of the whole machine, without idle and I/O wait."""
    with open("/proc/stat") as file:
        spent = [int(number) for number in file.readline().split()[1:9]]
    return (sum(spent) - spent[3] - spent[4]) / os.sysconf("SC_CLK_TCK")


def limit_threads(count: int) -> None:
    """Sets the thread limit of the peers; call it before TensorFlow is imported."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(count)


def process_age() -> float:
    """Seconds since this process started."""
    with open("/proc/self/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    start = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start


if __name__ == "__main__":
    sys.exit(main())
