"""Canary and rollback by version labels, as serving/README.md describes them."""

import shutil
import time

import numpy as np
import pytest
import requests

from flowzoo.client import RefusedError

TRANSPORTS = ("http", "grpc")
PATIENCE = 30.0


def write_config(path, folder, versions, **labels):
    """Writes a models.config and renames it into place, so that a server never reads half of it."""
    lines = [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()]
    text = (
        f'model_config_list {{ config {{ name: "vector" base_path: "{folder}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ versions: {versions} }} }} {' '.join(lines)} }} }}"
    )
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def readiness(served, label):
    """Status code that the readiness probe of serving/kubernetes/deployment.yaml gets."""
    url = f"{served.http}/v1/models/vector/labels/{label}/metadata"
    return requests.get(url, timeout=30).status_code


def test_a_label_of_a_version_that_is_not_loaded_yet(start, zoo, publish, tmp_path):
    folder, config = tmp_path / "zoo" / "vector", tmp_path / "models.config"
    shutil.copytree(zoo / "vector", folder)
    write_config(config, folder, [1, 2], stable=2)
    with start(tmp_path / "zoo", config) as served:
        assert readiness(served, "stable") == 404
        publish(folder / "1", folder / "2")
        served.wait_for("vector", 2)
        assert readiness(served, "stable") == 200


def test_canary_and_rollback(start, zoo, known, other, publish, tmp_path):
    folder, config = tmp_path / "zoo" / "vector", tmp_path / "models.config"
    shutil.copytree(zoo / "vector", folder)
    x, old, new = known["vector"].x[:9], known["vector"].log_prob[:9], other[1][:9]
    write_config(config, folder, [1], stable=1, canary=1)
    with start(tmp_path / "zoo", config) as served:

        def assert_answers(wanted, label=None):
            for transport in TRANSPORTS:
                with served.client("vector", transport, label=label) as client:
                    end = time.monotonic() + PATIENCE
                    while not np.allclose(client.log_prob(x), wanted, rtol=1e-4, atol=1e-4):
                        assert time.monotonic() < end, f"{label} over {transport} gives another version"
                        time.sleep(0.05)

        assert_answers(old, "stable")
        assert_answers(old, "canary")
        publish(other[0], folder / "2")
        write_config(config, folder, [1, 2], stable=1, canary=1)
        served.wait_for("vector", 2)
        assert_answers(new)  # Without a label the newest version answers.
        assert_answers(old, "stable")
        write_config(config, folder, [1, 2], stable=1, canary=2)
        assert_answers(new, "canary")
        assert_answers(old, "stable")
        # A label of a version that is not loaded: the whole file is refused.
        write_config(config, folder, [2, 3], stable=3, canary=2)
        time.sleep(1.5)
        assert_answers(old, "stable")
        write_config(config, folder, [1, 2], stable=2, canary=2)
        assert_answers(new, "stable")
        write_config(config, folder, [1, 2], stable=1, canary=2)
        assert_answers(old, "stable")
        assert readiness(served, "stable") == readiness(served, "canary") == 200
        assert readiness(served, "nope") == 400
        for transport in TRANSPORTS:
            with (
                served.client("vector", transport, label="nope") as client,
                pytest.raises(RefusedError, match="Unrecognized servable version label: nope"),
            ):
                client.log_prob(x)
