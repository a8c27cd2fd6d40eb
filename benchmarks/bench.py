"""flowzoo on the work that the other flow libraries are timed on: one JSON line on stdout.

    python benchmarks/bench.py --task sample --case maf512 --dim 64
    python benchmarks/bench.py --task train --case realnvp --dim 6 --batch 512

`--task sample` of a masked autoregressive flow and `--task log_prob` of an inverse one report, as
`over_fast_direction`, the ratio of the slow direction to one pass the other way in the same process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time

LAYERS = {"realnvp": 8, "maf": 5, "iaf": 5, "nsf": 5, "planar": 16, "radial": 16}
GLOW_SHAPES = {1024: (32, 32, 1), 3072: (32, 32, 3)}
FIT_BATCH = 512


def main() -> int:
    """Runs one benchmark; `--variant auto` runs each variant in a process of its own."""
    arguments = parse()
    if arguments.variant != "auto":
        print(json.dumps(run(arguments)), flush=True)
        return 0
    results = {}
    for variant in ("xla", "graph"):
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        child = subprocess.run(command, capture_output=True, text=True, timeout=arguments.variant_timeout)
        if child.returncode:
            print(child.stderr[-2000:], file=sys.stderr)
            continue
        results[variant] = json.loads(child.stdout.splitlines()[-1])
    if not results:
        return 1
    best = dict(min(results.values(), key=lambda result: result["per_step_ms_median"]))
    best["variants"] = {name: result["per_step_ms_median"] for name, result in results.items()}
    print(json.dumps(best), flush=True)
    return 0


def parse() -> argparse.Namespace:
    """The command line of every benchmark script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", required=True, choices=("train", "log_prob", "sample", "cold"))
    parser.add_argument(
        "--case", required=True, help="an architecture; a number behind it is the hidden width"
    )
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", default="auto", choices=("auto", "default", "xla", "graph"))
    parser.add_argument("--variant-timeout", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> dict:
    """One benchmark in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    import keras
    import tensorflow as tf

    import flowzoo

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    keras.utils.set_random_seed(arguments.seed)
    flow = build(flowzoo, arguments)
    x = flow.sample(arguments.batch, seed=arguments.seed)
    record = {
        "peer": "flowzoo",
        "version": flowzoo.__version__,
        "task": arguments.task,
        "case": arguments.case,
        "batch": arguments.batch,
        "dim": arguments.dim,
        "variant": arguments.variant,
        "threads": arguments.threads,
        "params": int(sum(math.prod(v.shape) for v in flow.trainable_variables)),
        "unit": "s" if arguments.task == "cold" else "rows/s",
    }
    if arguments.task == "cold":
        flow.log_prob(x).numpy()
        seconds = process_age()
        return {**record, "value": seconds, "per_step_ms_median": 1e3 * seconds, "iqr": 0.0}
    timings = {"train": time_train, "log_prob": time_log_prob, "sample": time_sample}[arguments.task]
    timing = timings(flow, x, arguments)
    return {**record, "value": 1e3 * arguments.batch / timing["per_step_ms_median"], **timing}


def build(flowzoo, arguments):
    """The flow of a case, through the public API, compiled as the variant says."""
    case, width = re.fullmatch(r"([a-z]+)(\d+)?", arguments.case).groups()
    hidden = (int(width or 128),) * 2
    options: dict = {"preprocessing": "none"}
    shape = (arguments.dim,)
    if case == "realnvp":
        options |= {"couplings": LAYERS[case], "hidden_units": hidden, "actnorm": False}
    elif case in ("maf", "iaf"):
        options |= {"steps": LAYERS[case], "hidden_units": hidden, "actnorm": False}
    elif case in ("planar", "radial"):
        options |= {"steps": LAYERS[case]}
    elif case == "glow":
        shape = GLOW_SHAPES[arguments.dim]
        options |= {"levels": 3, "steps": 8, "channels": 64}
    elif case == "nsf":
        options |= {"steps": LAYERS[case], "hidden_units": hidden, "identity_spline": False, "linear": "none"}
    flow = flowzoo.create_model(case, shape, **options)
    if arguments.variant in ("xla", "graph"):
        flow.use_xla = arguments.variant == "xla"
    # Away from the identity, where every layer has something to do.
    import numpy as np

    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.01 * rng.standard_normal(variable.shape))
    return flow


def time_log_prob(flow, x, arguments) -> dict:
    """Densities of one batch."""
    result = timed(lambda: flow.log_prob(x).numpy(), arguments.seconds)
    if arguments.case.startswith("iaf"):
        other = timed(lambda: flow.sample(arguments.batch).numpy(), arguments.seconds)
        result["over_fast_direction"] = result["per_step_ms_median"] / other["per_step_ms_median"]
    return result


def time_sample(flow, x, arguments) -> dict:
    """Samples of one batch."""
    import flowzoo

    seeds = flowzoo.random.row_seeds(0, arguments.batch)
    result = timed(lambda: flow.sample(seed=seeds).numpy(), arguments.seconds)
    if arguments.case.startswith("maf"):
        other = timed(lambda: flow.log_prob(x).numpy(), arguments.seconds)
        result["over_fast_direction"] = result["per_step_ms_median"] / other["per_step_ms_median"]
    return result


def time_train(flow, x, arguments) -> dict:
    """The steps that `flow.fit` runs, on one batch."""
    import keras
    import tensorflow as tf

    flow.adapted.assign(1.0)
    flow.compile(keras.optimizers.Adam(1e-5))
    flow.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(x).repeat())
    return timed(lambda: float(flow.train_function(batches)["loss"]), arguments.seconds)


def timed(step, seconds: float) -> dict:
    """Median and quartiles of a call that waits for its result."""
    start = time.perf_counter()
    step()
    compile_s = time.perf_counter() - start
    for _ in range(10):
        step()
    times = []
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
    }


def process_age() -> float:
    """Seconds since this process was started."""
    with open("/proc/self/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    start = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start


if __name__ == "__main__":
    sys.exit(main())
