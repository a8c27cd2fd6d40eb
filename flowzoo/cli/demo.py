"""flowzoo demo: fits a flow to images, evaluates, samples, saves and exports it, and checks the export."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from flowzoo.cli.console import complain, examples, verbosity
from flowzoo.cli.quiet import import_tensorflow
from flowzoo.utils.metrics import describe_metrics

if TYPE_CHECKING:
    import keras

    from flowzoo.flow import Flow

EXAMPLES = examples("flowzoo demo", "flowzoo demo --out /tmp/demo --seed 1")

EVENT_SHAPE = (8, 8, 1)
GREY_LEVELS = 17
OPTIONS: dict[str, Any] = {"levels": 2, "channels": 32, "blocks": 1}
BATCH_SIZE = 64
LOG_PROB_TOLERANCE, SAMPLE_TOLERANCE = 1e-3, 1e-2

# A client of the exported model that needs only NumPy and TensorFlow, not flowzoo.
CLIENT = """
import sys
import numpy as np, tensorflow as tf

model, asked, answers = sys.argv[1:]
signatures = tf.saved_model.load(model).signatures
rows = np.load(asked)
x, seed, temperature = (tf.constant(rows[name]) for name in ("x", "seed", "temperature"))
log_prob = signatures["log_prob"](x=x)["log_prob"]
sample = signatures["sample"](seed=seed, temperature=temperature)["x"]
np.savez(answers, log_prob=log_prob.numpy(), sample=sample.numpy())
assert "flowzoo" not in sys.modules
"""


def run(
    out: Annotated[Path, typer.Option(help="Directory of the output files.")] = Path("demo_run"),
    seed: Annotated[int, typer.Option(help="Seed of the weights, of the noise and of the samples.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the 1,437 images.")] = 40,
) -> None:
    """Fits a flow to small images, samples, exports, checks.

    RealNVP learns scikit-learn's handwritten digits. A new process without flowzoo loads the exported
    model, and its results must agree with Keras. The demo needs no network and takes about two minutes
    on two cores.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    _step("1/5", "fit RealNVP to 1,437 images of digits, 8 x 8 pixels with 17 grey levels")
    import_tensorflow()
    flow, test = _fit(seed, epochs)
    _step("2/5", "evaluate on the 180 test images")
    _evaluate(flow, test)
    _step("3/5", "draw samples, and real images for comparison")
    _draw(flow, test, out, seed)
    _step("4/5", "save and export")
    model = _save(flow, out)
    _step("5/5", "load the SavedModel in a new process that uses only TensorFlow")
    agrees = _check_elsewhere(flow, model, test[:64], seed)
    typer.echo(f"done in {time.monotonic() - start:.0f} s; all files are in {out}")
    if not agrees:
        complain("error", "the exported model and Keras disagree.")
        raise typer.Exit(1)


def _step(number: str, text: str) -> None:
    typer.echo(typer.style(number, bold=True) + f" {text}")


def _fit(seed: int, epochs: int) -> tuple[Flow, np.ndarray]:
    import keras

    from flowzoo import create_model, data

    keras.utils.set_random_seed(seed)
    train = data.load("digits", "train", batch_size=BATCH_SIZE, drop_remainder=True, seed=seed)
    validation = data.load("digits", "validation", batch_size=180)
    (test,) = data.load("digits", "test", batch_size=180).as_numpy_iterator()
    flow = create_model("realnvp", EVENT_SHAPE, pixel_levels=GREY_LEVELS, **OPTIONS)
    flow.compile(_optimizer(epochs * int(train.cardinality())))
    flow.fit(train, epochs=epochs, validation_data=validation, verbose=verbosity())
    return flow, test


def _optimizer(steps: int) -> keras.optimizers.Optimizer:
    import keras

    warmup = min(100, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=2e-3, warmup_steps=warmup
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=1.0)


def _evaluate(flow: Flow, test: np.ndarray) -> None:
    import tensorflow as tf

    from flowzoo.recipes.evaluation import evaluate

    metrics = evaluate(flow, tf.data.Dataset.from_tensors(test))
    typer.echo(f"    {describe_metrics(metrics)}; 17 equally likely levels: {np.log2(17):.2f} bits/dim")


def _draw(flow: Flow, test: np.ndarray, out: Path, seed: int) -> None:
    from flowzoo import plots

    plots.save_image_grid(flow.sample(64, seed=seed), out / "samples.png", levels=GREY_LEVELS)
    plots.save_image_grid(test[:64], out / "data.png", levels=GREY_LEVELS)
    typer.echo(f"    {out / 'samples.png'}, {out / 'data.png'}")


def _save(flow: Flow, out: Path) -> Path:
    flow.save(out / "flow.keras")
    flow.save_to_preset(out / "preset")
    model = flow.export(out / "saved_model")
    typer.echo(f"    {out / 'flow.keras'}, {out / 'preset'}, {model}")
    return model


def _check_elsewhere(flow: Flow, model: Path, x: np.ndarray, seed: int) -> bool:
    """Compares densities and samples of the exported model with Keras's; prints the differences."""
    from flowzoo import random

    seeds = np.asarray(random.row_seeds(seed, len(x)), np.int64)
    temperature = np.ones(len(x), np.float32)
    answers = _ask(model, {"x": x, "seed": seeds, "temperature": temperature})
    log_prob, sample = flow.log_prob(x).numpy(), flow.sample(len(x), seed=seed).numpy()
    relative = np.max(np.abs(answers["log_prob"] - log_prob) / np.maximum(np.abs(log_prob), 1.0))
    pixels = np.max(np.abs(answers["sample"] - sample))
    typer.echo(f"    largest relative difference of log_prob from Keras: {relative:.1e}")
    typer.echo(f"    largest difference of samples from Keras: {pixels:.1e} pixel levels")
    return bool(relative <= LOG_PROB_TOLERANCE and pixels <= SAMPLE_TOLERANCE)


def _ask(model: Path, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """The results of the exported model, from a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked.npz"), Path(folder, "answers.npz")
        np.savez(asked, **rows)  # type: ignore[arg-type]
        command = [sys.executable, "-I", "-c", CLIENT, str(model), str(asked), str(answered)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        client = subprocess.run(command, env=environment, capture_output=True, text=True)
        if client.returncode != 0:
            raise SystemExit(f"The exported model does not load:\n{client.stderr}")
        with np.load(answered) as archive:
            return dict(archive)
