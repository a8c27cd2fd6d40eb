"""The rooms of the package: what lies at its root, and that no import goes round in a circle."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flowzoo"


def test_only_what_a_user_names_lies_at_the_root():
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == {"__init__", "__main__", "_version", "density", "flow", "plots", "random"}


def test_every_room_says_in_one_sentence_what_lives_in_it():
    for path in PACKAGE.rglob("__init__.py"):
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        assert summary.endswith("."), path


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_files_are_short_enough_to_read(path):
    assert len(path.read_text().splitlines()) <= 400


def lazy_names(package):
    """Module of each name that a lazy package's stub lists."""
    stub = package / "__init__.pyi"
    nodes = ast.parse(stub.read_text()).body if stub.is_file() else []
    dotted = ".".join(package.relative_to(PACKAGE.parent).parts)
    return {
        alias.name: f"{dotted}.{node.module}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def imports_of(path, lazy):
    """Modules that a file imports when it is imported, with lazy names resolved."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowzoo"):
            for alias in node.names:
                yield lazy.get(node.module, {}).get(alias.name, node.module)
                yield f"{node.module}.{alias.name}"


def test_lazy_names_hide_no_circle():
    """import-linter sees `from flowzoo.layers import ActNorm` as an import of the package alone."""
    lazy = {
        ".".join(path.parent.relative_to(PACKAGE.parent).parts): lazy_names(path.parent)
        for path in PACKAGE.rglob("__init__.py")
    }
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__init__"
    }
    graph = {name: {m for m in imports_of(path, lazy) if m in modules} for name, path in modules.items()}
    sys.setrecursionlimit(10_000)
    done, path = set(), []

    def visit(name):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            path.append(name)
            for other in graph[name]:
                visit(other)
            done.add(path.pop())

    for name in graph:
        visit(name)
