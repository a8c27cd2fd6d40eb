import pytest

from flowzoo.utils.yaml_values import parse_yaml


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", ".001"])
def test_numbers_are_numbers(text):
    assert parse_yaml(text, "it") == 0.001


def test_aliases_are_refused_before_they_expand():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ValueError, match=r"recipe\.yaml is not valid YAML: aliases .* are not allowed"):
        parse_yaml("\n".join(lines), "recipe.yaml")


def test_deep_nesting_is_refused():
    with pytest.raises(ValueError, match="it is nested too deeply"):
        parse_yaml("[" * 5000, "it")
