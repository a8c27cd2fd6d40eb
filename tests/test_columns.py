"""Names of columns travel with a flow: into files, presets and exports, and frames are matched by them."""

import json

import keras
import numpy as np
import pandas as pd
import pytest

import flowzoo
from flowzoo.applications import AnomalyDetector
from flowzoo.client import Client

NAMES = ["speed", "torque", "heat"]


@pytest.fixture
def frame(rng):
    return pd.DataFrame(rng.normal([5, 100, 0], [1, 20, 0.1], (400, 3)), columns=NAMES)


@pytest.fixture
def flow(frame):
    keras.utils.set_random_seed(0)
    flow = flowzoo.create_model("realnvp", (3,), steps=2, hidden_units=(8,))
    flow.compile(run_eagerly=True)
    flow.use_xla = False
    flow.fit(frame, validation_data=frame[NAMES[::-1]], verbose=0)
    return flow


def test_a_flow_fitted_to_a_frame_matches_frames_by_name(flow, frame):
    assert flow.columns == tuple(NAMES)
    expected = flow.log_prob(frame.to_numpy())
    for method in (flow.log_prob, lambda x: flow.score(x)["log_prob"]):
        np.testing.assert_allclose(method(frame[NAMES[::-1]]), expected, rtol=1e-5)
    np.testing.assert_allclose(flow.encode(frame[NAMES[::-1]]), flow.encode(frame.to_numpy()), rtol=1e-4)
    assert flow.evaluate(frame[NAMES[::-1]], verbose=0) == flow.evaluate(frame, verbose=0)
    history = flow.history.history
    assert history["val_nll"][0] == pytest.approx(flow.evaluate(frame, verbose=0)[1], rel=1e-5)


def test_unknown_and_missing_columns_are_refused(flow, frame):
    with pytest.raises(ValueError, match="x has no column 'heat'"):
        flow.log_prob(frame[["speed", "torque"]])
    with pytest.raises(
        ValueError, match=r"no column 'heat', which the flow was fitted to\. Did you mean 'Heat'"
    ):
        flow.log_prob(frame.rename(columns={"heat": "Heat"}))
    with pytest.raises(ValueError, match="the column 'wind', which the flow does not know"):
        flow.log_prob(frame.assign(wind=1.0))


def test_arrays_go_by_place_and_name_nothing(frame):
    flow = flowzoo.create_model("realnvp", (3,), steps=1)
    flow.adapt(frame.to_numpy())
    assert flow.columns is None


def test_the_names_are_in_every_file(flow, frame, tmp_path):
    flow.save(tmp_path / "flow.keras")
    flow.save_to_preset(tmp_path / "preset")
    for path in ("flow.keras", "preset"):
        loaded = flowzoo.from_pretrained(tmp_path / path)
        loaded.use_xla = False
        assert loaded.columns == tuple(NAMES)
        np.testing.assert_allclose(loaded.log_prob(frame[NAMES[::-1]]), flow.log_prob(frame), rtol=1e-5)
    version = flow.export(tmp_path / "model")
    assert json.loads((version / "flowzoo_manifest.json").read_text())["columns"] == NAMES


@pytest.mark.slow
def test_the_names_are_in_onnx_graphs(flow, tmp_path):
    onnx = pytest.importorskip("onnx")
    flow.export(tmp_path, format="onnx")
    properties = {
        entry.key: entry.value for entry in onnx.load(str(tmp_path / "log_prob.onnx")).metadata_props
    }
    assert json.loads(properties["columns"]) == NAMES


@pytest.mark.parametrize("ending", ["keras", "preset"])
def test_the_command_line_scores_shuffled_columns_right(flow, frame, tmp_path, ending, monkeypatch):
    from typer.testing import CliRunner

    from flowzoo.cli import app

    monkeypatch.chdir(tmp_path)
    model = "flow.keras" if ending == "keras" else "preset"
    flow.save(model) if ending == "keras" else flow.save_to_preset(model)
    frame.assign(extra=1)[["extra", *NAMES[::-1]]].to_csv("shuffled.csv", index=False)
    result = CliRunner().invoke(app, ["score", model, "shuffled.csv", "--out", "scores.csv"])
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(pd.read_csv("scores.csv")["log_prob"], flow.log_prob(frame), rtol=1e-4)


def test_a_detector_fitted_to_a_frame_matches_by_name(frame, tmp_path):
    detector = AnomalyDetector().fit(frame[:60])
    detector.save(tmp_path / "detector")
    loaded = AnomalyDetector.load(tmp_path / "detector")
    shuffled = frame[NAMES[::-1]]
    np.testing.assert_allclose(loaded.score(shuffled), detector.score(frame), rtol=1e-5)
    assert not loaded.predict(shuffled[:50], false_positives=0.1).all()
    with pytest.raises(ValueError, match="no column 'heat'"):
        loaded.score(frame[["speed", "torque"]])


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="one name for each column"):
        flowzoo.create_model("realnvp", (3,), steps=1).columns = ["a", "a", "b"]
    with pytest.raises(ValueError, match="one name for each column"):
        flowzoo.create_model("realnvp", (3,), steps=1).columns = ["a"]


def test_a_client_needs_the_names_for_frames(frame):
    client = Client("http://localhost:1", model="m")
    with pytest.raises(ValueError, match="pass columns= to Client"):
        client.log_prob(frame)
