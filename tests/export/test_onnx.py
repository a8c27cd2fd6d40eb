"""Tests of flowzoo.export.onnx; the promises test the conversion of each architecture."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import flowzoo
from flowzoo import Flow, bijectors, layers, testing
from flowzoo.export import export_onnx
from flowzoo.export import onnx as module

NAMES = {"log_prob.onnx", "sample.onnx", "encode.onnx", "decode.onnx"}


@pytest.fixture(scope="module")
def flow():
    return testing.make_flow("realnvp", (3,), dtype="float32", steps=2, hidden_units=(4,))


@pytest.fixture(scope="module")
def exported(flow, tmp_path_factory):
    return flow.export(tmp_path_factory.mktemp("onnx") / "flow", format="onnx")


def run(directory, name, **inputs):
    return onnxruntime.InferenceSession(directory / f"{name}.onnx").run(None, inputs)[0]


def test_four_graphs_and_nothing_else(exported):
    assert {path.name for path in exported.iterdir()} == NAMES


def test_the_same_seeds_give_keras_samples(flow, exported):
    seed = flowzoo.random.row_seeds(7, 9)
    got = run(exported, "sample", seed=seed, temperature=np.full(9, 0.7, "f"))
    np.testing.assert_allclose(got, flow.sample(seed=seed, temperature=0.7), rtol=1e-5, atol=1e-5)


def test_a_bad_row_is_the_lowest_float_and_spares_its_neighbours(flow, exported):
    x = testing.raw_rows(flow, 3).astype("float32")
    wanted = flow.log_prob(x).numpy()
    x[1, 0] = np.nan
    got = run(exported, "log_prob", x=x)
    np.testing.assert_allclose(got[[0, 2]], wanted[[0, 2]], rtol=1e-5)
    assert got[1] == np.finfo("float32").min


def test_encode_and_decode_undo_each_other(flow, exported):
    x = testing.raw_rows(flow, 5).astype("float32")
    np.testing.assert_allclose(
        run(exported, "decode", z=run(exported, "encode", x=x)), x, rtol=1e-5, atol=1e-5
    )


def test_the_file_has_metadata(exported):
    model = onnx.load(exported / "log_prob.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["architecture"] == "realnvp"
    assert told["event_shape"] == "3"
    assert told["flowzoo"] == flowzoo.__version__
    assert "log_prob: nats" in told["units"]
    assert [opset.version for opset in model.opset_import if not opset.domain] == [module.OPSET]
    assert [value.name for value in [*model.graph.input, *model.graph.output]] == ["x", "log_prob"]


def test_large_weights_go_to_a_separate_file(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EXTERNAL_ABOVE", 0)
    flow.export(tmp_path, format="onnx")
    assert {path.name for path in tmp_path.iterdir()} == NAMES | {f"{name}.data" for name in NAMES}
    model = onnx.load(tmp_path / "log_prob.onnx", load_external_data=False)
    outside = [tensor for tensor in model.graph.initializer if tensor.external_data]
    weights = sum(weight.numpy().nbytes for weight in flow.trainable_weights)
    assert len(outside) >= len(flow.trainable_weights)
    assert (tmp_path / "log_prob.onnx.data").stat().st_size >= weights
    assert [value.name for value in model.graph.input] == ["x"]
    seed = flowzoo.random.row_seeds(7, 9)
    got = run(tmp_path, "sample", seed=seed, temperature=np.full(9, 0.7, "f"))
    np.testing.assert_allclose(got, flow.sample(seed=seed, temperature=0.7), rtol=1e-5, atol=1e-5)
    monkeypatch.undo()
    flow.export(tmp_path, format="onnx")
    assert {path.name for path in tmp_path.iterdir()} == NAMES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "event", "options"),
    [
        ("maf", (5,), {"steps": 1, "hidden_units": (6,)}),
        ("glow", (4, 4, 1), {"levels": 1, "steps": 1, "channels": 4}),
        ("nsf", (3,), {"steps": 1, "bins": 4}),
    ],
)
def test_large_weights_of_other_architectures(name, event, options, monkeypatch):
    monkeypatch.setattr(module, "EXTERNAL_ABOVE", 0)
    testing.check_onnx(testing.make_flow(name, event, dtype="float32", **options))


@pytest.mark.slow
def test_images_are_pixels(tmp_path):
    flow = testing.make_flow("realnvp", (4, 4, 1), dtype="float32", levels=1, channels=2, blocks=0)
    directory = flow.export(tmp_path, format="onnx")
    x = testing.raw_rows(flow, 3).astype("uint8")
    np.testing.assert_allclose(run(directory, "log_prob", x=x), flow.log_prob(x), rtol=1e-4)


def test_given_rows_are_compared(flow, tmp_path):
    rows = testing.raw_rows(flow, 40).astype("float32")
    assert export_onnx(flow.density, tmp_path, rows=rows) == tmp_path


class Erfed(layers.FlowLayer):
    """Uses an op that ONNX does not have."""

    def bijector(self, context=None, training=False):
        shift = tf.math.ndtri(tf.constant(0.3)) + tf.math.ndtri(tf.random.uniform([])) * 0.0
        return bijectors.Affine(shift, tf.constant(0.0), self.event_shape)


def test_an_op_without_counterpart_is_named_and_nothing_is_written(tmp_path):
    flow = Flow([Erfed()], (2,))
    with pytest.raises(ValueError, match=r"log_prob: ONNX has no counterpart for .*Ndtri"):
        flow.export(tmp_path / "onnx", format="onnx")
    assert list((tmp_path / "onnx").iterdir()) == []


def test_a_graph_that_disagrees_is_refused_and_old_files_stay(flow, exported, monkeypatch):
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="onnxruntime and Keras differ by"):
        flow.export(exported, format="onnx")
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_a_missing_package_is_named(flow, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"needs tf2onnx.*pip install 'flowzoo\[onnx\]'"):
        flow.export(tmp_path, format="onnx")


def test_an_unknown_format_is_refused(flow, tmp_path):
    with pytest.raises(ValueError, match="format must be 'tf_saved_model' or 'onnx'; got 'tflite'"):
        flow.export(tmp_path, format="tflite")


@pytest.mark.slow
@pytest.mark.parametrize("base", ["uniform", "diagonal_gaussian", "full_gaussian", "student_t", "mixture"])
def test_every_base_converts(base):
    testing.check_onnx(testing.make_flow("realnvp", (3,), dtype="float32", steps=1, base=base))


@pytest.mark.slow
def test_a_conditional_base_converts():
    base = "conditional_gaussian"
    testing.check_onnx(testing.make_flow("realnvp", (3,), (2,), dtype="float32", steps=1, base=base))


@pytest.mark.slow
@pytest.mark.parametrize("inverse", ["jacobi", "sequential"])
def test_every_inverse_of_maf_converts(inverse):
    testing.check_onnx(testing.make_flow("maf", (3,), dtype="float32", steps=2, inverse=inverse))


@pytest.mark.slow
def test_blocks_of_columns_and_residual_networks_convert():
    options = {"steps": 1, "residual": True, "hidden_units": (14, 14, 14)}
    testing.check_onnx(testing.make_flow("maf", (11,), (2,), dtype="float32", **options))
