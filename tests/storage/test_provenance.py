"""Versions, and the commit of a checkout."""

import subprocess

import pytest

import flowzoo
from flowzoo.storage import provenance


def test_versions():
    versions = provenance.versions()
    assert versions["flowzoo"] == flowzoo.__version__
    assert set(versions) == {"flowzoo", "python", "tensorflow", "keras", "tensorflow-probability", "numpy"}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A package in a repository with one commit."""

    def git(*arguments):
        who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    (tmp_path / "flowzoo" / "storage").mkdir(parents=True)
    module = tmp_path / "flowzoo" / "storage" / "provenance.py"
    module.write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return module


def test_the_commit_of_a_checkout(checkout):
    revision = provenance.revision()
    assert len(revision) == 40
    checkout.write_text("changed = True\n")
    assert provenance.revision() == revision + "-dirty"


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "flowzoo" / "storage" / "provenance.py"))
    assert provenance.revision() is None


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.revision() is None
