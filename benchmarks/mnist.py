"""Uses of the pretrained Glows of MNIST: class-conditional samples, inpainting, fine-tuning.

    python benchmarks/mnist.py [classes] [holes] [tuning] [--data-dir ../shared/data/tfds]

All three take about half an hour on two idle cores. Writes benchmarks/mnist.json, docs/mnist.md and its
pictures.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import flowzoo
from flowzoo import plots
from flowzoo.applications import inpaint
from flowzoo.storage.provenance import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, IMAGES = ROOT / "benchmarks/mnist.json", ROOT / "docs/mnist.md", ROOT / "docs/images"


def main() -> None:
    """Measures the selected parts, and writes the page from all results so far."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data-dir", default="../shared/data/tfds", help="folder where TFDS keeps MNIST")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - set(PARTS)):
        parser.error(f"unknown: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for part in arguments.parts or PARTS:
        keras.utils.set_random_seed(0)
        results[part] = {**PARTS[part](arguments.data_dir), "machine": machine()}
        print(part, results[part], flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(page(results))


# -- Class-conditional samples ----------------------------------------------------------------
def classes(data_dir: str, count: int = 200, temperature: float = 0.8) -> dict:
    """How often a classifier of MNIST recognises in a sample the requested digit."""
    train, test = (
        flowzoo.data.load("mnist", split, batch_size=128, labels=True, data_dir=data_dir, download=False)
        for split in ("train", "test")
    )
    classifier = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = 4 * (60_000 // 128)
    classifier.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), loss, metrics=["accuracy"]
    )
    classifier.fit(train, epochs=4, verbose=2)
    accuracy = classifier.evaluate(test, verbose=0)[1]
    flow = flowzoo.from_pretrained("glow_mnist_class")
    digits = np.repeat(np.arange(10), count)
    context = keras.ops.one_hot(digits, 10)
    samples = np.floor(flow.sample(context=context, temperature=temperature, seed=0))
    seen = np.argmax(classifier.predict(samples, verbose=0), axis=1)
    first = samples.reshape(10, count, 28, 28, 1)[:, :8].swapaxes(0, 1)
    plots.save_image_grid(first.reshape(-1, 28, 28, 1), IMAGES / "mnist_classes.png", columns=10)
    return {
        "accuracy": float(accuracy),
        "temperature": temperature,
        "samples": len(digits),
        "agreement": float(np.mean(seen == digits)),
        "by_digit": [float(np.mean(seen[digits == digit] == digit)) for digit in range(10)],
    }


# -- Inpainting -------------------------------------------------------------------------------
def holes(data_dir: str, count: int = 32, samples: int = 8) -> dict:
    """Squared errors of the flow's completions of lower halves of test digits, and of the mean image."""
    train, test = (
        flowzoo.data.load("mnist", split, batch_size=1000, shuffle=False, data_dir=data_dir, download=False)
        for split in ("train", "test")
    )
    mean = np.mean([np.mean(batch, axis=0) for batch in train.as_numpy_iterator()], axis=0)
    truth = next(test.as_numpy_iterator())[:count].astype(np.float32)
    known = np.ones((28, 28, 1), bool)
    known[14:] = False
    filled = np.floor(inpaint(flowzoo.from_pretrained("glow_mnist"), truth, known, samples=samples))

    def error(image):
        """Mean squared error over the unknown pixels, of values from 0 to 1, with its standard error."""
        each = np.mean(np.square((image - truth)[:, 14:] / 255), axis=(1, 2, 3))
        return [float(each.mean()), float(each.std() / count**0.5)]

    known_only = np.where(known, truth, 64)
    shown = np.concatenate([known_only[:, None], truth[:, None], filled[:, :6]], axis=1)[:12]
    plots.save_image_grid(shown.reshape(-1, 28, 28, 1), IMAGES / "mnist_holes.png", columns=8)
    return {
        "images": count,
        "samples": samples,
        "mean of training images": error(np.broadcast_to(mean, truth.shape)),
        "one completion": error(filled[:, 0]),
        "mean of the completions": error(filled.mean(1)),
    }


# -- Fine-tuning ------------------------------------------------------------------------------
def tuning(data_dir: str, epochs: int = 20) -> dict:
    """scikit-learn's digits at MNIST's size: validation bits/dim from the preset and from scratch."""
    train, validation, test = (digits(split) for split in ("train", "validation", "test"))
    tuned = flowzoo.from_pretrained("glow_mnist")
    before = tuned.evaluate(test, verbose=0, return_dict=True)["bits_per_dim"]
    scratch = flowzoo.create_model("glow", (28, 28, 1), **tuned.options)
    courses = {}
    for name, flow in {"preset": tuned, "scratch": scratch}.items():
        flow.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0))
        history = flow.fit(train, batch_size=64, epochs=epochs, validation_data=(validation,), verbose=2)
        courses[name] = [float(value) for value in history.history["val_bits_per_dim"]]
    reached = np.flatnonzero(np.array(courses["preset"]) <= min(courses["scratch"]))
    if not len(reached):
        raise SystemExit(f"The preset is not better than a new flow: {courses}")
    return {
        "images": len(train),
        "steps_an_epoch": -(-len(train) // 64),
        "before": float(before),
        **courses,
        "epochs_to_the_best_of_scratch": 1 + int(reached[0]),
    }


def digits(split: str) -> np.ndarray:
    """scikit-learn's digits in the middle 20 x 20 of 28 x 28 pixels, 256 grey levels."""
    small = np.concatenate(
        list(flowzoo.data.load("digits", split, batch_size=500, shuffle=False).as_numpy_iterator())
    )
    large = tf.clip_by_value(tf.image.resize(small * (255 / 16), (20, 20), "bicubic"), 0, 255)
    return np.floor(tf.pad(large, [[0, 0], [4, 4], [4, 4], [0, 0]]).numpy())


# -- The page --------------------------------------------------------------------------------
def page(results: dict) -> str:
    """The results as a page of the documentation."""
    parts = [SECTIONS[part](results[part]).strip() for part in PARTS if part in results]
    machines = dict.fromkeys(results[part]["machine"] for part in results)
    return "\n\n".join([HEAD, *parts, f"Measured on {', '.join(machines)}."]) + "\n"


HEAD = """# MNIST: class-conditional samples, inpainting, fine-tuning

Written by `python benchmarks/mnist.py`; do not edit. Uses of the pretrained Glows of MNIST.
[The zoo](zoo.md) lists their test metrics."""


def classes_section(found: dict) -> str:
    """The section of the page for `classes`."""
    worst = int(np.argmin(found["by_digit"]))
    return f"""
## Class-conditional samples

`glow_mnist_class` draws the digit whose one-hot vector is its context:

```python
import keras
import numpy as np

import flowzoo

flow = flowzoo.from_pretrained("glow_mnist_class")
sevens = keras.ops.one_hot(np.full(16, 7), 10)
flow.sample(context=sevens, temperature=0.8, seed=0)
```

![one digit per column, 0 to 9](images/mnist_classes.png)

A convolutional classifier that is right on {found["accuracy"]:.2%} of MNIST's test images recognises the
requested digit in {found["agreement"]:.1%} of {found["samples"]:,} samples at temperature
{found["temperature"]:g}. The lowest rate is that of the {worst}, {found["by_digit"][worst]:.0%}.
"""


def holes_section(found: dict) -> str:
    """The section of the page for `holes`."""
    fills = ("mean of training images", "one completion", "mean of the completions")
    table = "\n".join(f"| {fill} | {found[fill][0]:.4f} ± {found[fill][1]:.4f} |" for fill in fills)
    return f"""
## Inpainting

The lower halves of {found["images"]} test images are hidden; `flowzoo.applications.inpaint` completes them
with `glow_mnist`. Each row shows the known pixels, the original, and six completions.

![known pixels, original, and six completions for each digit](images/mnist_holes.png)

Mean squared error of the hidden pixels, with values from 0 to 1:

| filled with | error |
|---|---|
{table}

A completion is a sample, not the best guess: squared error penalizes a sharp stroke in the wrong place twice.
The mean of {found["samples"]} samples estimates the completion that minimizes this error.
"""


def tuning_section(found: dict) -> str:
    """The section of the page for `tuning`."""
    epochs, steps = [1, 2, 5, 10, len(found["preset"])], found["steps_an_epoch"]
    courses = {"from `glow_mnist`": found["preset"], "from scratch": found["scratch"]}
    table = [
        ["steps", *(str(steps * epoch) for epoch in epochs)],
        ["---"] * (1 + len(epochs)),
        *([name, *(f"{course[epoch - 1]:.3f}" for epoch in epochs)] for name, course in courses.items()),
    ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""
## Fine-tuning

The images are scikit-learn's digits, from other writers and coarser, resized to 20 × 20 pixels in the middle
of 28 × 28. There are {found["images"]:,} training images. Before fine-tuning, `glow_mnist` has a test metric
of {found["before"]:.2f} bits/dim on them.

```python
flow = flowzoo.from_pretrained("glow_mnist")
flow.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0))
flow.fit(images, batch_size=64, epochs={epochs[-1]})
```

Validation bits/dim by number of steps:

{lines}

From scratch, the best result in {len(found["scratch"]) * steps} steps is {min(found["scratch"]):.3f}. The
preset reaches it in {found["epochs_to_the_best_of_scratch"] * steps} steps.
"""


PARTS = {"classes": classes, "holes": holes, "tuning": tuning}
SECTIONS = {"classes": classes_section, "holes": holes_section, "tuning": tuning_section}

if __name__ == "__main__":
    main()
