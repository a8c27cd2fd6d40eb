import pytest

from flowzoo.storage import files
from flowzoo.zoo.card import card, duration


@pytest.fixture
def content(zoo):
    directory = zoo / "tiny_moons"
    return files.read_json(directory / "config.json"), files.read_json(directory / "metadata.json")


def test_a_card_has_all_facts(content, zoo):
    text = card(*content)
    assert text == (zoo / "tiny_moons/README.md").read_text()
    _, metadata = content
    test = metadata["test"]
    for words in (
        "A small flow on two moons.",
        "![samples](samples.png)",
        "https://arxiv.org/abs/1605.08803",
        f"**{test['nll']:.4f} ± {test['nll_se']:.4f} nats**",
        "0.5 nats (Nobody, 2020)",
        "Apache-2.0",
        "test `test[:2000]`",
        'flow = flowzoo.from_pretrained("tiny_moons")',
        "It is small.",
        metadata["weights_sha256"],
        metadata["machine"],
        "steps: 2",
    ):
        assert words in text, words


def test_the_code_of_a_card_runs(content, zoo):
    """With the directory instead of the name, because the preset is not bundled."""
    import numpy as np

    code = card(*content).split("```python\n")[1].split("```")[0]
    exec(code.replace('"tiny_moons"', repr(str(zoo / "tiny_moons"))), {"x": np.zeros((1, 2), "float32")})


def test_a_card_of_a_conditional_flow_says_where_the_context_goes(content):
    config, metadata = content
    text = card({**config, "context_shape": [10]}, metadata)
    assert "flow.sample(16, context, seed=0)" in text
    assert "| context shape | (10,) |" in text


def test_a_card_without_a_published_number_says_so(content):
    config, metadata = content
    recipe = {**metadata["recipe"], "card": {**metadata["recipe"]["card"], "published": None}}
    text = card(config, {**metadata, "recipe": recipe})
    assert "| published | none; the lower bound is the density's entropy, 0.2892 nats |" in text
    data = {key: value for key, value in metadata["data"].items() if key != "entropy"}
    text = card(config, {**metadata, "recipe": recipe, "data": data})
    assert "| published | none known |" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.4, "45 s"), (90, "1.5 min"), (1200, "20.0 min"), (9000, "2.5 h")]
)
def test_durations_have_a_readable_unit(seconds, text):
    assert duration(seconds) == text
