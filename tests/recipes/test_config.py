from pathlib import Path

import numpy as np
import pytest
import yaml

import flowzoo
from flowzoo.recipes.config import ZooConfig, dump_config, load_config

RECIPE = """
name: toy
model:
  name: realnvp
  options: {steps: 2}
data:
  source: two_moons
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(RECIPE)
    return path


def test_defaults_fill_what_a_recipe_leaves_out(recipe):
    config = load_config(recipe)
    assert (config.seed, config.data.batch_size, config.training.epochs) == (0, 512, 20)
    assert config.model.options == {"steps": 2}
    assert config.training.optimizer == "adam"


def test_a_dumped_recipe_is_the_same_recipe(recipe, tmp_path):
    config = load_config(recipe, ["training.ema=0.99"])
    (tmp_path / "dumped.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "dumped.yaml") == config
    assert "warmup_steps" in dump_config(config)


def test_overrides_are_yaml_values_under_dotted_keys(recipe):
    overrides = [
        "training.epochs=5",
        "training.learning_rate=1e-4",
        "model.options.hidden_units=[8, 8]",
        "name=other",
    ]
    config = load_config(recipe, overrides)
    assert (config.training.epochs, config.training.learning_rate) == (5, 1e-4)
    assert config.model.options == {"steps": 2, "hidden_units": [8, 8]}
    assert config.name == "other"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "looks like training.epochs=5; got 'training.epochs'"),
        ("name.first=x", "'name' holds a value, not keys"),
        ("training.epoch=5", "unknown key 'training.epoch'. Did you mean 'epochs'"),
        ("modle.name=x", "unknown key 'modle'. Did you mean 'model'"),
        ("training.epochs=0", r"'training.epochs': .*greater than 0; got 0"),
        ("training.epochs=many", r"'training.epochs': .*integer.*; got 'many'"),
        ("training.optimizer=sgd", r"'training.optimizer': .*adam.*; got 'sgd'"),
        ("training.ema=1.5", "'training.ema': .*less than 1; got 1.5"),
        ("training.epochs=[1", "not valid YAML"),
        ("training.noise=-1", "'training.noise': .*greater than or equal to 0; got -1"),
        (
            "training.weight_decay=0.1",
            "'training.weight_decay': .*needs optimizer: adamw; with others, use l2; got 0.1",
        ),
    ],
)
def test_wrong_overrides_are_refused(recipe, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(recipe, [override])


def test_two_precisions_are_refused(recipe):
    overrides = ["training.precision=mixed_bfloat16", "model.options.dtype=float64"]
    with pytest.raises(ValueError, match=r"training.precision and model.options.dtype exclude each other"):
        load_config(recipe, overrides)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a list", "must hold a mapping with name, model, data and training"),
        ("", "must hold a mapping"),
        ("name: [unclosed", "toy.yaml is not valid YAML"),
        ("name: toy\nmodel: {name: realnvp}\n", "the key 'data' is missing"),
        (
            RECIPE.replace("source:", "sauce:"),
            "unknown key 'data.sauce'. Did you mean 'source'|'data.source' is missing",
        ),
    ],
)
def test_wrong_files_are_refused_by_name(recipe, content, message):
    recipe.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_config(recipe)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "nothing.yaml")


def test_description_and_card_do_not_change_the_training(recipe):
    config = load_config(recipe)
    assert config.trains_as(load_config(recipe, ["description=words", "card.published=1.05"]))
    assert config.trains_as(load_config(recipe, ["training.checkpoint_seconds=0"]))
    assert not config.trains_as(load_config(recipe, ["seed=1"]))


def test_a_tuple_equals_the_list_in_a_file(recipe, tmp_path):
    config = load_config(recipe, ["model.options.hidden_units=[8, 8]"])
    options = {**config.model.options, "hidden_units": (8, 8)}
    same = config.model_copy(update={"model": config.model.model_copy(update={"options": options})})
    assert same.trains_as(config)


def test_numbers_may_have_other_notations(recipe):
    recipe.write_text(RECIPE + "training: {learning_rate: 1e-3, clip_norm: null}\n")
    assert load_config(recipe).training.learning_rate == 1e-3


def test_an_empty_section_takes_its_defaults(recipe):
    recipe.write_text(RECIPE + "training:\n")
    assert load_config(recipe).training.epochs == 20


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "zoo_configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_recipe_of_the_zoo_is_valid(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.model.name in flowzoo.list_models()
    known = {"preprocessing", "pixel_levels", "dequantize", "base", "dtype"}
    assert set(config.model.options) <= set(flowzoo.model_info(config.model.name).options) | known
    assert yaml.safe_load(dump_config(config))["name"] == config.name


@pytest.mark.parametrize("name", ["power", "gas", "hepmass", "miniboone", "bsds300"])
@pytest.mark.parametrize(("kind", "steps"), [("nsf", 200_000), ("nsf_ar", 250_000), ("maf", 250_000)])
def test_the_benchmarks_recipes_train_for_the_papers_steps(kind, steps, name):
    config = load_config(Path(__file__).parents[2] / "zoo_configs" / f"{kind}_{name}.yaml")
    rows = flowzoo.data.dataset_info(config.data.source).splits["train"]
    epoch = rows // config.data.batch_size
    wanted = steps if name == "miniboone" else 400_000
    assert abs(config.training.epochs * epoch - wanted) <= epoch / 2


@pytest.mark.parametrize("kind", ["nsf", "nsf_ar", "maf"])
def test_a_benchmarks_recipe_makes_a_flow(kind):
    config = load_config(Path(__file__).parents[2] / "zoo_configs" / f"{kind}_miniboone.yaml")
    flow = flowzoo.create_model(config.model.name, (43,), **config.model.options)
    assert np.isfinite(flow.log_prob(np.zeros((2, 43), np.float32))).all()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.learning_rate=.inf", "learning_rate"),
        ("training.learning_rate=.nan", "learning_rate"),
        ("training.epochs=true", "training.epochs"),
        ("data.batch_size=true", "data.batch_size"),
    ],
)
def test_switches_and_infinities_are_not_counts_and_rates(tmp_path, override, words):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: {name: maf}\ndata: {source: two_moons}\n")
    with pytest.raises(ValueError, match=words):
        load_config(path, [override])


def test_options_of_earlier_versions_are_read_in_todays_spelling():
    model = {"name": "nsf", "options": {"blocks": 2, "hidden_units": [8]}}
    config = ZooConfig(name="x", model=model, data={"source": "two_moons"})
    assert config.model.options == {"hidden_units": [8] * 5, "residual": True}
