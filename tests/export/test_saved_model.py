"""Exported SavedModels, loaded without flowzoo and without Keras."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from flowzoo import random
from flowzoo.export import saved_model
from flowzoo.storage import files
from flowzoo.testing import make_flow

SMALL = {"steps": 2, "hidden_units": (4,)}


@pytest.fixture(scope="module")
def flow():
    flow = make_flow("realnvp", (2,), (3,), dtype="float32", **SMALL)
    flow.use_xla = False
    return flow


@pytest.fixture(scope="module")
def exported(flow, tmp_path_factory):
    return flow.export(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    return {name: (loaded, function) for name, function in loaded.signatures.items()}


@pytest.fixture
def rows(rng):
    return rng.normal(3, 2, (4, 2)).astype("f"), rng.normal(size=(4, 3)).astype("f")


# Loads it like TensorFlow Serving: with the graph API and a session, without flowzoo's Python code.
READER = """
import json, sys
import tensorflow.compat.v1 as tf

request = json.load(open(sys.argv[2]))
with tf.Session(graph=tf.Graph()) as session:
    meta = tf.saved_model.load(session, ["serve"], sys.argv[1])
    answers = {}
    for name, inputs in request.items():
        signature = meta.signature_def[name]
        assert signature.method_name == "tensorflow/serving/predict", signature.method_name
        feed = {signature.inputs[key].name: value for key, value in inputs.items()}
        fetch = {key: tensor.name for key, tensor in signature.outputs.items()}
        answers[name] = {key: value.tolist() for key, value in session.run(fetch, feed).items()}
assert not {"flowzoo", "tensorflow_probability"} & set(sys.modules)
print("ANSWERS" + json.dumps(answers))
"""


def test_a_session_in_a_fresh_process_agrees_with_keras(flow, exported, rows, tmp_path):
    x, context = rows
    seeds, temperature = random.row_seeds(5, 4), np.array([1.0, 0.5, 0.0, 1.5], np.float32)
    z = flow.encode(x, context)
    inputs = {
        "log_prob": {"x": x},
        "score": {"x": x},
        "sample": {"seed": seeds, "temperature": temperature},
        "encode": {"x": x},
        "decode": {"z": z.numpy()},
    }
    inputs = {name: {**given, "context": context} for name, given in inputs.items()}
    request = {n: {k: v.tolist() for k, v in given.items()} for n, given in inputs.items()}
    (tmp_path / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-c", READER, str(exported), str(tmp_path / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.split("ANSWERS")[1])
    wanted = {
        "log_prob": {"log_prob": flow.log_prob(x, context)},
        "score": flow.score(x, context),
        "sample": {"x": flow.sample(context=context, temperature=temperature, seed=seeds)},
        "encode": {"z": z},
        "decode": {"x": x},
    }
    for name, outputs in wanted.items():
        assert set(answers[name]) == set(outputs)
        for key, value in outputs.items():
            np.testing.assert_allclose(answers[name][key], value, rtol=1e-4, atol=1e-4)


def test_every_input_and_output_has_rows_first(signatures):
    for _, function in signatures.values():
        specs = [*function.structured_input_signature[1].values(), *function.structured_outputs.values()]
        assert all(spec.shape.rank >= 1 and spec.shape[0] is None for spec in specs)


def test_names_and_dtypes_are_the_documented_ones(signatures):
    inputs = {n: set(f.structured_input_signature[1]) for n, (_, f) in signatures.items()}
    assert inputs == {
        "serving_default": {"x", "context"},
        "log_prob": {"x", "context"},
        "score": {"x", "context"},
        "sample": {"seed", "temperature", "context"},
        "encode": {"x", "context"},
        "decode": {"z", "context"},
    }
    sample = signatures["sample"][1].structured_input_signature[1]
    assert sample["seed"].dtype == tf.int64
    assert sample["temperature"].dtype == tf.float32


def test_bad_rows_leave_their_neighbours_alone(signatures, rows):
    x, context = rows
    good = signatures["score"][1](x=tf.constant(x), context=tf.constant(context))
    broken, broken_context = x.copy(), context.copy()
    broken[0, 0], broken_context[3, 1] = np.nan, np.inf
    score = signatures["score"][1](x=tf.constant(broken), context=tf.constant(broken_context))
    assert score["valid"].numpy().tolist() == [False, True, True, False]
    assert np.isfinite(score["log_prob"]).all()
    assert float(score["log_prob"][0]) == np.finfo(np.float32).min
    np.testing.assert_array_equal(score["log_prob"][1:3], good["log_prob"][1:3])
    for name in ("log_prob", "encode"):
        (output,) = signatures[name][1](x=tf.constant(broken), context=tf.constant(broken_context)).values()
        assert np.isfinite(output).all(), f"{name} answers NaN, which is no JSON"


def answer(exported, name, **inputs):
    """Calls the runtime directly, which, like a server, does not check shapes against the signature."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        signature = v1.saved_model.load(session, ["serve"], str(exported)).signature_def[name]
        feed = [signature.inputs[key].name for key in inputs]
        fetch = [tensor.name for tensor in signature.outputs.values()]
        function = session._make_callable_from_options(config_pb2.CallableOptions(feed=feed, fetch=fetch))
        return function(*inputs.values())


X, CONTEXT = r"x must have shape \(N, 2\)", r"context must have shape \(N, 3\)"


@pytest.mark.parametrize(
    ("x_shape", "context_shape", "message"),
    [
        ((4, 3), (4, 3), X),
        ((2,), (1, 3), X),
        ((), (1, 3), X),
        ((4, 2, 1), (4, 3), X),
        ((4, 2), (4, 2), CONTEXT),
        ((4, 2), (3,), CONTEXT),
        ((4, 2), (3, 3), "context and x differ in their number of rows"),
    ],
)
def test_wrong_shapes_get_a_clear_message(exported, x_shape, context_shape, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(exported, "log_prob", x=np.zeros(x_shape, "f"), context=np.zeros(context_shape, "f"))


@pytest.mark.parametrize(
    ("seed", "temperature", "message"),
    [(7, [1.0], r"seed must have shape \(N,\)"), ([[7]], [1.0], "seed must"), ([7], 1.0, "temperature must")],
)
def test_scalar_seeds_and_temperatures_get_a_clear_message(exported, seed, temperature, message):
    inputs = {"seed": np.array(seed, np.int64), "temperature": np.array(temperature, "f")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(exported, "sample", **inputs, context=np.zeros((1, 3), "f"))


def test_versions_count_up_and_nothing_else_is_left(flow, tmp_path):
    (tmp_path / "7").mkdir()
    version = flow.export(tmp_path)
    assert version == tmp_path / "8"
    assert {path.name for path in tmp_path.iterdir()} == {"7", "8"}
    assert (version / "saved_model.pb").is_file()


def test_a_version_may_be_chosen_once(flow, tmp_path):
    assert flow.export(tmp_path, version=3) == tmp_path / "3"
    with pytest.raises(ValueError, match="3 exists; choose another version"):
        flow.export(tmp_path, version=3)


def test_a_failed_export_leaves_nothing_to_load(flow, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        flow.export(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write_warmup_requests", "write_batching_params", "write_manifest"])
def test_no_version_appears_without_all_of_its_files(flow, tmp_path, monkeypatch, step):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(f"flowzoo.export.saved_model.{step}", fail)
    with pytest.raises(OSError, match="disk full"):
        flow.export(tmp_path)
    assert list(tmp_path.iterdir()) == []


def exported_before(base, *names):
    """Folders with the manifest of an export."""
    for name in names:
        (base / name).mkdir()
        files.write_json(
            base / name / "flowzoo_manifest.json", {"flowzoo": "0.1.0", "format": 1, "files": {}}
        )


def test_the_newest_versions_are_kept(flow, tmp_path):
    exported_before(tmp_path, "1", "02", "9", "10")
    (tmp_path / "notes").mkdir()
    assert flow.export(tmp_path, keep=2) == tmp_path / "11"
    assert {path.name for path in tmp_path.iterdir()} == {"10", "11", "notes"}


def test_only_exports_of_flowzoo_are_removed(flow, tmp_path):
    exported_before(tmp_path, "1")
    (tmp_path / "elsewhere").mkdir()
    exported_before(tmp_path / "elsewhere", "5")
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "photo.jpg").write_text("mine")
    (tmp_path / "7").write_text("mine")
    (tmp_path / "5").symlink_to(tmp_path / "elsewhere" / "5")
    (tmp_path / "\u0663").mkdir()
    assert flow.export(tmp_path, keep=1) == tmp_path / "2025"
    assert {path.name for path in tmp_path.iterdir()} == {"2024", "2025", "7", "5", "\u0663", "elsewhere"}
    assert (tmp_path / "elsewhere" / "5" / "flowzoo_manifest.json").is_file()


def test_exporters_at_the_same_time_lose_nothing_and_leave_nothing(tmp_path):
    """Six writers publish forty versions each and keep two; the graph itself is not the matter here."""

    def export(_):
        for _ in range(40):
            with files.temporary_directory(tmp_path, "writing") as beside:
                manifest = {"flowzoo": "0.1.0", "format": 1, "files": {}}
                files.write_json(beside / "flowzoo_manifest.json", manifest)
                published = saved_model._publish(beside, tmp_path, None)
            saved_model._remove_old(tmp_path, 2, published)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(export, range(6)))
    names = sorted(int(path.name) for path in tmp_path.iterdir())
    assert 2 <= len(names) <= 7
    assert max(names) >= 40


@pytest.mark.parametrize("version", [2**63, 2**70])
def test_a_version_that_tf_serving_cannot_count_is_refused(flow, tmp_path, version):
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*63 - 1"):
        flow.export(tmp_path, version=version)


def test_the_version_just_written_is_kept_whatever_its_number(flow, tmp_path):
    exported_before(tmp_path, "7", "2")
    assert flow.export(tmp_path, version=3, keep=1) == tmp_path / "3"
    assert {path.name for path in tmp_path.iterdir()} == {"3", "7"}


def test_nothing_is_removed_for_an_export_that_failed(flow, tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="keep must be at least 1 version; got 0"):
        flow.export(tmp_path, keep=0)
    monkeypatch.setattr("flowzoo.export.saved_model.write_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        flow.export(tmp_path, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_functions_compiled_with_xla_are_refused(tmp_path):
    flow = make_flow("realnvp", (2,), dtype="float32", **SMALL)
    flow.density.decode_rows = tf.function(flow.density.decode_rows, jit_compile=True)
    with pytest.raises(ValueError, match="with XLA, which TensorFlow Serving refuses"):
        flow.export(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_graph_holds_no_xla(exported):
    assert b"_XlaMustCompile" not in (exported / "saved_model.pb").read_bytes()


def test_exported_weights_are_a_snapshot(rows, tmp_path):
    flow = make_flow("realnvp", (2,), dtype="float32", **SMALL)
    flow.use_xla = False
    x = tf.constant(rows[0])
    before = flow.log_prob(x)
    loaded = tf.saved_model.load(str(flow.export(tmp_path)))
    flow.transforms[0].shift.assign([9.0, 9.0])
    after = loaded.signatures["log_prob"](x=x)["log_prob"]
    np.testing.assert_allclose(after, before, rtol=1e-5)
