"""Remote registries: over HTTP, on disk, in memory; interrupted, damaged, shared by processes."""

import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

import flowzoo
from flowzoo.storage import presets, remote
from flowzoo.storage.registry import describe_preset
from flowzoo.testing import perturb

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A registry of one preset on disk, and its flow's log_prob of some rows."""
    root = tmp_path_factory.mktemp("registry")
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
    perturb(flow, 0.2)
    flow.save_to_preset(root / "toy_flow")
    write_index(root)
    return root, flow.log_prob(np.eye(2, dtype="float32")).numpy()


def write_index(root):
    index = {"format": 1, "presets": [describe_preset(root / "toy_flow")]}
    (root / "index.json").write_text(json.dumps(index))


@pytest.fixture
def root(published, tmp_path):
    """A copy of the registry that a test may damage."""
    return Path(shutil.copytree(published[0], tmp_path / "registry"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLOWZOO_REGISTRY", raising=False)
    return tmp_path / "cache"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files and byte ranges, records the requests, and can break off."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked.append((path.name, start))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        if not self.server.ranges:
            start = 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        most = None
        if path.name == WEIGHTS:
            most = self.server.breaks_after
            time.sleep(self.server.pause)
        self.wfile.write(content[start:][:most])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(root):
    """Serves `root` at `.url` and records requests in `.asked`; can break off, be slow, or lack ranges."""

    def handler(*args):
        return Handler(*args, directory=str(root))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.ranges, server.breaks_after, server.pause = [], True, None, 0.0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def asked_for(server, name=WEIGHTS):
    return [start for asked, start in server.asked if asked == name]


def held(cache):
    """The fetched files with their final names."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name[0] != ".")


# -- locations ---------------------------------------------------------------------------------
def in_memory(root):
    file_system = fsspec.filesystem("memory")
    file_system.put(str(root), "/zoo-of-tests", recursive=True)
    return "memory://zoo-of-tests"


@pytest.mark.parametrize("address", ["http", "file", "directory", "memory"])
def test_a_preset_is_fetched_from_any_kind_of_registry(address, root, server, published):
    registry = {
        "http": lambda: server.url + "/",
        "file": lambda: root.as_uri(),
        "directory": lambda: root,
        "memory": lambda: in_memory(root),
    }[address]()
    flow = flowzoo.from_pretrained("toy_flow", registry=registry)
    np.testing.assert_array_equal(flow.log_prob(np.eye(2, dtype="float32")), published[1])


def test_a_url_names_registry_and_preset_at_once(server):
    assert (presets.find_preset(f"{server.url}/toy_flow/") / WEIGHTS).is_file()
    assert presets.preset_metadata(f"{server.url}/toy_flow")["parameters"] > 0


def test_the_variable_names_a_registry_for_what_is_not_bundled(root, monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "pretrained_directory", lambda: tmp_path / "none")
    monkeypatch.setenv("FLOWZOO_REGISTRY", root.as_uri())
    assert presets.find_preset("toy_flow").is_relative_to(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"file://.* has no preset 'toy_flo'. Did you mean 'toy_flow'"):
        presets.find_preset("toy_flo")


def test_bundled_presets_come_first(root, monkeypatch):
    monkeypatch.setattr(presets, "pretrained_directory", lambda: root)
    monkeypatch.setenv("FLOWZOO_REGISTRY", "http://127.0.0.1:9/nobody-is-here")
    assert presets.find_preset("toy_flow") == root / "toy_flow"


def test_cached_files_are_not_fetched_again(server):
    remote.fetch_preset(server.url, "toy_flow")
    remote.fetch_preset(server.url, "toy_flow")
    assert asked_for(server) == [0]
    assert asked_for(server, "index.json") == [0, 0]


def test_without_the_network_the_cache_is_enough(server, cache):
    remote.fetch_preset(server.url, "toy_flow")
    server.shutdown()
    server.server_close()
    with pytest.warns(UserWarning, match="Using the index that was fetched before"):
        directory = remote.fetch_preset(server.url, "toy_flow")
    assert (directory / WEIGHTS).is_file()


def test_a_preset_that_is_published_again_is_fetched_again(root, server):
    first = remote.fetch_preset(server.url, "toy_flow")
    (root / "toy_flow/metadata.json").write_text("{}")
    write_index(root)
    second = remote.fetch_preset(server.url, "toy_flow")
    assert (second / "metadata.json").read_text() == "{}" != (first / "metadata.json").read_text()


def test_the_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("FLOWZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remote.cache_directory() == tmp_path / "flowzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert remote.cache_directory() == Path.home() / ".cache/flowzoo"


# -- failures ----------------------------------------------------------------------------------
def test_an_interrupted_fetch_resumes(server, cache, root):
    size = (root / "toy_flow" / WEIGHTS).stat().st_size
    server.breaks_after = 1000
    for times in (1, 2):
        with pytest.raises(
            OSError, match=rf"{WEIGHTS} (ended after {times},000 of {size:,} bytes|cannot be read)"
        ):
            remote.fetch_preset(server.url, "toy_flow")
        assert WEIGHTS not in held(cache)
    server.breaks_after = None
    directory = remote.fetch_preset(server.url, "toy_flow")
    assert asked_for(server) == [0, 1000, 2000]
    assert (directory / WEIGHTS).read_bytes() == (root / "toy_flow" / WEIGHTS).read_bytes()
    assert {path.name for path in directory.iterdir()} == {"config.json", "metadata.json", WEIGHTS}


def test_a_server_without_ranges_sends_the_whole_file_again(server, cache, root):
    server.breaks_after, server.ranges = 1000, False
    with pytest.raises(OSError, match=WEIGHTS):
        remote.fetch_preset(server.url, "toy_flow")
    server.breaks_after = None
    directory = remote.fetch_preset(server.url, "toy_flow")
    assert asked_for(server) == [0, 1000]
    assert (directory / WEIGHTS).read_bytes() == (root / "toy_flow" / WEIGHTS).read_bytes()


def test_a_partial_file_of_another_version_is_discarded(server, cache, root):
    directory = remote.fetch_preset(server.url, "toy_flow")
    (directory / WEIGHTS).unlink()
    (directory / f".{WEIGHTS}.partial").write_bytes(b"nonsense")
    remote.fetch_preset(server.url, "toy_flow")
    assert asked_for(server) == [0, 8, 0]
    assert (directory / WEIGHTS).read_bytes() == (root / "toy_flow" / WEIGHTS).read_bytes()


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    directory = remote.fetch_preset(server.url, "toy_flow")
    (directory / "config.json").write_text("{}")
    remote.fetch_preset(server.url, "toy_flow")
    assert json.loads((directory / "config.json").read_text())["architecture"] == "realnvp"


def spoil(path, how):
    content = path.read_bytes()
    flipped = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    path.write_bytes({"truncated": content[:-10], "longer": content + b"x", "flipped": flipped}[how])


@pytest.mark.parametrize("name", ["config.json", "metadata.json", WEIGHTS])
@pytest.mark.parametrize("how", ["truncated", "longer", "flipped"])
def test_a_file_that_differs_from_the_index_is_named_and_not_kept(server, cache, root, name, how):
    spoil(root / "toy_flow" / name, how)
    with pytest.raises((ValueError, OSError), match=rf"{server.url}/toy_flow/{name} (has|ended|is damaged)"):
        flowzoo.from_pretrained("toy_flow", registry=server.url)
    assert name not in held(cache)


def test_a_missing_file_is_named(server, root):
    (root / "toy_flow" / WEIGHTS).unlink()
    with pytest.raises(OSError, match=rf"toy_flow/{WEIGHTS} cannot be read: Not Found"):
        remote.fetch_preset(server.url, "toy_flow")


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        ("http://127.0.0.1:9/zoo", "127.0.0.1:9/zoo/index.json cannot be read"),
        ("/nowhere/zoo", "/nowhere/zoo/index.json cannot be read: No such file"),
        ("file:///nowhere/zoo", "index.json cannot be read"),
    ],
)
def test_a_missing_registry_is_named(registry, message):
    with pytest.raises(OSError, match=message):
        flowzoo.from_pretrained("toy_flow", registry=registry)


def test_an_unknown_protocol_is_named():
    with pytest.raises(ValueError, match=r"zoo9://x/index.json: .*zoo9"):
        flowzoo.from_pretrained("toy_flow", registry="zoo9://x")


def test_an_index_that_is_not_json_is_named(root):
    (root / "index.json").write_text("<html>")
    with pytest.raises(ValueError, match=r"index\.json is not valid JSON"):
        remote.fetch_preset(root, "toy_flow")


def test_a_newer_index_asks_for_a_newer_flowzoo(root):
    (root / "index.json").write_text('{"format": 9, "presets": []}')
    with pytest.raises(ValueError, match=r"index\.json has format 9, .*Upgrade flowzoo"):
        remote.fetch_preset(root, "toy_flow")


@pytest.mark.parametrize("name", ["../../outside", "/etc", ".", ""])
def test_nothing_is_written_outside_the_cache(root, cache, name):
    index = json.loads((root / "index.json").read_text())
    index["presets"][0]["name"] = name
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is not a valid preset name"):
        remote.fetch_preset(root, name)
    assert held(cache) == []


def test_a_file_of_another_name_is_refused(root, cache):
    index = json.loads((root / "index.json").read_text())
    index["presets"][0]["files"]["../../evil.py"] = {"size": 1, "sha256": "0" * 64}
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is not a file of a preset; refused"):
        remote.fetch_preset(root, "toy_flow")
    assert held(cache) == []


FETCH = """
import sys
from flowzoo.storage.remote import fetch_preset
print(fetch_preset(sys.argv[1], "toy_flow"))
"""


def test_several_processes_fetch_at_once(server, root):
    """One process fetches while the others wait. None of them needs TensorFlow."""
    server.pause = 1.0  # So that the others arrive while the first one fetches.
    command = [sys.executable, "-c", FETCH, server.url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate()[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    (directory,) = map(Path, printed)
    assert asked_for(server) == [0]
    assert (directory / WEIGHTS).read_bytes() == (root / "toy_flow" / WEIGHTS).read_bytes()
