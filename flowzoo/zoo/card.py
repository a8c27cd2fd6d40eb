"""Model cards: a preset's README.md, from its config.json and metadata.json alone."""

from __future__ import annotations

import yaml

from flowzoo.models._registry import ModelInfo, model_info
from flowzoo.recipes.config import ZooConfig
from flowzoo.storage.registry import PICTURE, WEIGHTS
from flowzoo.utils.metrics import main_metric, with_error

PARTS = ("train", "validation", "test")


def card(config: dict, metadata: dict) -> str:
    """The README.md of a preset that `flowzoo.zoo.publish` wrote.

    Args:
        config: Content of config.json.
        metadata: Content of metadata.json.
    """
    recipe, info = ZooConfig.model_validate(metadata["recipe"]), model_info(config["architecture"])
    name = metadata["name"]
    # As it was when the preset was made: of a later flowzoo a recipe may have more keys.
    written = yaml.safe_dump(metadata["recipe"], sort_keys=False)
    parts = [
        f"# {name}",
        "Written by `flowzoo zoo build`; do not edit.",
        recipe.description,
        f"![samples]({PICTURE})",
        _facts(config, metadata, info),
        "## How to load",
        f"```python\n{_loading(name, config)}```",
        "## Limits",
        _limits(config, metadata, recipe),
        "## How it was made",
        _making(metadata, recipe),
        f"`flowzoo train {name}.yaml` with this recipe:\n\n```yaml\n{written}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def published(metadata: dict) -> str:
    """The published number and where it stands; of a toy density its entropy."""
    words, (_, unit) = metadata["recipe"]["card"], main_metric(metadata["test"])
    if words["published"] is not None:
        return f"{words['published']:g} {unit} ({words['published_source']})"
    if "entropy" in metadata["data"]:
        return f"{metadata['data']['entropy']:.4f} nats is the density's entropy, the least there is"
    return "none known"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _facts(config: dict, metadata: dict, info: ModelInfo) -> str:
    test, data = metadata["test"], metadata["data"]
    paper = f"[{info.paper}]({info.url})" if info.url else info.paper
    where = f"[{data['source']}]({data['url']})" if data["url"].startswith("http") else data["source"]
    measured = f"**{with_error(test)}**, of {test['rows']:,} rows: negative log-likelihood, lower is better"
    facts = {
        "architecture": f"`{config['architecture']}`: {paper}",
        "event": f"{tuple(config['event_shape'])}",
        "context": f"{tuple(config['context_shape'])}" if config["context_shape"] else "",
        "parameters": f"{metadata['parameters']:,}, stored as {metadata['weights_dtype']}",
        "data": f"{where}, version {data['version']}",
        "licence of the data": data["licence"],
        "split": ", ".join(f"{part} `{data[part]}`" for part in PARTS if data[part]),
        "test metric": measured,
        "published": published(metadata),
    }
    lines = [f"| {key} | {value} |" for key, value in facts.items() if value]
    return "\n".join(["| | |", "|---|---|", *lines])


def _loading(name: str, config: dict) -> str:
    lines = ["import flowzoo", "", f'flow = flowzoo.from_pretrained("{name}")']
    if config["context_shape"] is None:
        lines += ["flow.sample(16, seed=0)", "flow.log_prob(x)  # nats, of raw rows"]
    else:
        lines += ["flow.sample(16, context, seed=0)", "flow.log_prob(x, context)  # nats, of raw rows"]
    return "\n".join(lines) + "\n"


def _limits(config: dict, metadata: dict, recipe: ZooConfig) -> str:
    source, shape = metadata["data"]["source"], tuple(config["event_shape"])
    limits = [
        recipe.card.limits,
        f"It knows rows like those of {source}, of shape {shape} and in their units; of other rows the "
        "density says only that they are unlike these, and not always that.",
        "Its samples are not the data: of rare rows there may be too many or too few.",
    ]
    return "\n".join(f"* {' '.join(limit.split())}" for limit in limits if limit)


def _making(metadata: dict, recipe: ZooConfig) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    return (
        f"Seed {recipe.seed}, {metadata['epochs']} epochs in {duration(metadata['training_seconds'])} "
        f"on {metadata['machine']}, with {versions}. "
        f"The sha256 of `{WEIGHTS}` is `{metadata['weights_sha256']}`."
    )
