"""Score on Beam's direct runner, over an exported version."""

import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flowzoo
from flowzoo.testing import perturb

beam = pytest.importorskip("apache_beam", reason="needs the extra flowzoo[beam]")

from flowzoo.scoring.beam import Score  # noqa: E402 (it imports Beam)


def exported(tmp_path_factory, context=None, event=(2,), **options):
    flow = flowzoo.create_model("realnvp", event, context, steps=1, hidden_units=(4,), **options)
    perturb(flow)
    directory = tmp_path_factory.mktemp("models")
    flow.export(directory)
    return flow, directory


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return exported(tmp_path_factory)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    return exported(tmp_path_factory, (3,))


def append(pair, path):
    with open(path, "ab") as file:
        pickle.dump(pair, file)


def scored(elements, transform):
    """The resulting pairs, in any order; through a file, because the runner works on copies."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pairs")
        with beam.Pipeline(runner="DirectRunner") as pipeline:
            pipeline | beam.Create(elements) | transform | beam.Map(append, path)
        with open(path, "rb") as file:
            return [pickle.load(file) for _ in elements]


def test_mappings_with_missing_values_in_batches(plain, rng):
    flow, directory = plain
    x = rng.normal(size=(3000, 2)).astype(np.float32)
    elements = [{"id": i, "a": float(a), "b": float(b)} for i, (a, b) in enumerate(x)]
    elements[7]["a"], elements[8]["b"] = None, float("inf")
    pairs = scored(elements, Score(directory, ["a", "b"]))
    assert sorted(element["id"] for element, _ in pairs) == list(range(3000))
    wanted = flow.log_prob(x).numpy()
    for element, scores in pairs:
        assert list(scores) == ["log_prob", "valid"]
        assert scores["valid"] is (element["id"] not in (7, 8))
        if scores["valid"]:
            assert scores["log_prob"] == pytest.approx(wanted[element["id"]], abs=1e-4)


def test_rows_and_the_directory_of_one_version(plain, rng):
    flow, directory = plain
    x = rng.normal(size=(5, 2)).astype(np.float32)
    pairs = scored([row.tolist() for row in x], Score(directory / "1"))
    pairs.sort(key=lambda pair: [row.tolist() for row in x].index(pair[0]))
    np.testing.assert_allclose([s["log_prob"] for _, s in pairs], flow.log_prob(x), rtol=1e-4)


@pytest.mark.slow
def test_images_get_bits_per_dim(tmp_path_factory, rng):
    flow = flowzoo.create_model("realnvp", (4, 4, 1), levels=1, channels=2, blocks=0)
    directory = tmp_path_factory.mktemp("models")
    flow.export(directory)
    image = rng.integers(0, 256, (4, 4, 1)).astype(np.uint8)
    ((_, scores),) = scored([image], Score(directory))
    assert scores["bits_per_dim"] == pytest.approx(float(flow.bits_per_dim(image[None])[0]), rel=1e-4)


def test_contexts(conditional, rng):
    flow, directory = conditional
    x, context = rng.normal(size=2).astype(np.float32), rng.normal(size=3).astype(np.float32)
    wanted = float(flow.log_prob(x[None], context[None])[0])
    ((_, scores),) = scored([(x, context)], Score(directory))
    assert scores["log_prob"] == pytest.approx(wanted, rel=1e-4)
    names = dict(zip("abcde", map(float, [*x, *context]), strict=True))
    ((_, scores),) = scored([names], Score(directory, ["a", "b"], ["c", "d", "e"]))
    assert scores["log_prob"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("elements", "columns", "message"),
    [
        ([{"a": 1.0}], ["a", "b"], r"no column 'b'; it has \['a'\]"),
        ([[1.0, 2.0, 3.0]], None, r"x must have shape \(N, 2\); got \(1, 3\)"),
    ],
)
def test_wrong_elements_are_reported(plain, elements, columns, message):
    with pytest.raises(Exception, match=message):
        scored(elements, Score(plain[1], columns))


def test_mistakes_in_the_pipeline(conditional, tmp_path):
    with pytest.raises(ValueError, match="name the columns of the row too"):
        Score(tmp_path, context_columns=["c"])
    with pytest.raises(Exception, match="holds no exported version"):
        scored([[1.0, 2.0]], Score(tmp_path))
    with pytest.raises(Exception, match="This flow is conditional"):
        scored([{"a": 1.0, "b": 2.0}], Score(conditional[1], ["a", "b"]))


def test_the_newest_version_is_taken(tmp_path):
    flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,)).export(tmp_path)
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(4,))
    perturb(flow)
    flow.export(tmp_path, version=10)
    ((_, scores),) = scored([[1.0, 2.0]], Score(tmp_path))
    assert scores["log_prob"] == pytest.approx(float(flow.log_prob([[1.0, 2.0]])[0]), rel=1e-4)


def test_the_pipeline_of_the_guide(tmp_path, monkeypatch, capfd, rng):
    """The guide's code, unchanged, on files of the kind that it describes."""
    monkeypatch.chdir(tmp_path)
    names = ["temperature", "pressure", "counts"]
    flow = flowzoo.create_model("realnvp", (3,), steps=1, hidden_units=(4,))
    flow.export("models/readings")
    (tmp_path / "new").mkdir()
    for i in range(2):
        columns = dict(zip(names, rng.normal(size=(3, 10)), strict=True))
        pq.write_table(pa.table(columns), f"new/{i}.parquet")
    guide = (Path(__file__).parents[2] / "docs/guides/train-on-your-own-data.md").read_text()
    (program,) = re.findall(r"```python\n(import apache_beam.*?)```", guide, re.S)
    exec(program, {})
    printed = [line for line in capfd.readouterr().out.splitlines() if "log_prob" in line]
    assert len(printed) == 20
    assert all("'temperature'" in line and "'valid': True" in line for line in printed)


def test_a_pipeline_is_built_without_tensorflow(tmp_path):
    """The pickled transform that goes to the workers holds no model."""
    assert len(pickle.dumps(Score(tmp_path, ["a"])._handler)) < 1000
    program = (
        "import sys; from flowzoo.scoring.beam import Score; Score('m'); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
