"""Packaging: the wheel is complete, the pins satisfy the requirements, the import is light."""

import configparser
import email
import importlib.metadata
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
VERSION = runpy.run_path(str(ROOT / "flowzoo" / "_version.py"))["__version__"]
DATA_FOLDERS = ("pretrained", "zoo_configs")


def read_pins():
    """Canonical name -> version, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def declared_requirements():
    """(where, Requirement) for each dependency, those of extras included, except flowzoo itself."""
    groups = {"dependencies": PROJECT["dependencies"], **EXTRAS}
    parsed = [(where, Requirement(text)) for where, texts in groups.items() for text in texts]
    return [(where, req) for where, req in parsed if req.name != PROJECT["name"]]


def files_below(folder):
    """The files that a folder ships, relative to the repository, without hidden files and caches."""
    files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {
        file.as_posix()
        for file in files
        if not any(part.startswith((".", "__pycache__")) for part in file.parts)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist and the wheel that was built from the sdist alone."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def dist_info():
    return f"flowzoo-{VERSION}.dist-info"


@pytest.mark.parametrize("folder", DATA_FOLDERS)
def test_wheel_carries_the_zoo(wheel, folder):
    wanted = files_below(folder)
    assert wanted, f"{folder}/ is empty"
    assert {f"flowzoo/{file}" for file in wanted} <= set(wheel.namelist())


def test_wheel_carries_the_package_and_nothing_else(wheel, dist_info):
    names = set(wheel.namelist())
    assert files_below("flowzoo") <= names
    assert "flowzoo/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"flowzoo", dist_info}


def test_wheel_carries_the_licence(wheel, dist_info):
    shipped = wheel.read(f"{dist_info}/licenses/LICENSE")
    assert shipped == (ROOT / "LICENSE").read_bytes()


def test_wheel_installs_the_command(wheel, dist_info):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel.read(f"{dist_info}/entry_points.txt").decode())
    assert entry_points["console_scripts"]["flowzoo"] == "flowzoo.cli:main"


def test_wheel_metadata(wheel, dist_info):
    metadata = email.message_from_bytes(wheel.read(f"{dist_info}/METADATA"))
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert SpecifierSet(metadata["Requires-Python"]) == SpecifierSet(PROJECT["requires-python"])
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)


def test_sdist_holds_what_a_developer_needs(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.split("/", 1)[-1] for name in archive.getnames()}
    folders = ("flowzoo", "tests", *DATA_FOLDERS)
    wanted = set().union(*(files_below(folder) for folder in folders))
    wanted |= {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt"}
    assert wanted <= held


def test_changelog_names_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{VERSION}]" in changelog


# Commands that a user types; the samples of each preset are scored.
OFFLINE_USE = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("something uses the network")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

import numpy
import flowzoo
from flowzoo.cli import app

def command(*arguments):
    assert not app([*arguments], standalone_mode=False), arguments

print(flowzoo.__file__)
command("list", "--pretrained")
for name in flowzoo.list_models(pretrained=True):
    command("info", name)
    conditional = flowzoo.from_pretrained(name).context_shape is not None
    command("sample", name, "-n", "4", "--out", f"{name}.npy", *(["--context", "0"] if conditional else []))
    rows = f"{name}.npy"
    if conditional:
        numpy.savez(f"{name}.npz", X=numpy.floor(numpy.load(rows)), y=[0] * 4)
        rows = f"{name}.npz"
    command("score", name, rows, "--out", f"{name}.csv")
    lines = open(f"{name}.csv").read().splitlines()
    assert len(lines) == 5 and lines[1].lower().endswith("true"), lines
"""


@pytest.mark.slow
def test_the_zoo_is_in_the_wheel_and_needs_no_network(built, tmp_path):
    """Uses a new virtual environment, which sees our dependencies but not this repository."""
    (wheel,) = built.glob("*.whl")
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["FLOWZOO_CACHE"] = str(tmp_path / "cache")
    command = [python, "-c", OFFLINE_USE]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[0] == str(site / "flowzoo/__init__.py")
    index = json.loads((ROOT / "pretrained/index.json").read_text(encoding="utf-8"))
    for preset in index["presets"]:
        assert f"wrote 4 samples (seed 0): {preset['name']}.npy" in done.stdout
    assert not (tmp_path / "cache").exists()
    listed = subprocess.run(
        [site.parents[2] / "bin/flowzoo", "list", "--pretrained"], capture_output=True, env=env
    )
    assert len(listed.stdout.splitlines()) == 1 + len(index["presets"])


@pytest.mark.parametrize(
    ("where", "requirement"),
    [pytest.param(*pair, id=f"{pair[0]}: {pair[1]}") for pair in declared_requirements()],
)
def test_constraints_satisfy_the_requirements(where, requirement):
    pins = read_pins()
    name = canonicalize_name(requirement.name)
    assert name in pins, f"{name} ({where}) has no pin: run `make constraints`"
    assert requirement.specifier.contains(pins[name], prereleases=True)


def test_constraints_are_complete():
    """Every direct or indirect requirement that applies in this environment has a pin."""
    todo = [req for where, req in declared_requirements() if where != "gpu"]
    seen, missing = set(), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                missing.add(name)
                continue
            for need in map(Requirement, needs):
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    todo.append(need)
    assert not missing, "not installed here: run make test, which installs all of .[dev]"
    unpinned = {name for name, _ in seen} - read_pins().keys()
    assert not unpinned, "run `make constraints`"


def test_index_of_presets_is_readable():
    index = json.loads((ROOT / "pretrained" / "index.json").read_text(encoding="utf-8"))
    assert index["format"] == 1
    assert isinstance(index["presets"], list)


def test_import_is_light():
    """`import flowzoo` is fast: heavy modules load when they are used."""
    heavy = {"keras", "matplotlib", "numpy", "onnx", "onnxruntime", "pyarrow", "scipy", "sklearn"}
    heavy |= {"tensorflow", "tensorflow_datasets", "tensorflow_probability", "tf2onnx", "tf_keras"}
    program = "import flowzoo; print(flowzoo.__version__)"
    command = [sys.executable, "-X", "importtime", "-c", program]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "EAGER_IMPORT": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == VERSION
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "flowzoo" in modules
    assert not heavy & {module.partition(".")[0] for module in modules}
