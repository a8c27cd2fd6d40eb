"""flowzoo score."""

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

import flowzoo

LOWEST = np.finfo(np.float32).min


def read(path):
    if path.endswith(".npy"):
        return {name: np.load(path)[name] for name in np.load(path).dtype.names}
    table = pyarrow.csv.read_csv(path) if path.endswith(".csv") else pyarrow.parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.mark.parametrize("out", ["s.csv", "s.npy", "s.parquet"])
def test_rows_keep_their_order(succeed, preset, rows, out, tmp_path):
    rows = rows.copy()
    rows[[3, 7], [0, 1]] = np.nan, np.inf
    np.save(tmp_path / "rows.npy", rows)
    assert succeed("score", preset, "rows.npy", "--out", out) == f"scored 200 rows (2 not valid): {out}\n"
    scores = read(out)
    assert list(scores) == ["log_prob", "valid"]
    whole = np.isfinite(rows).all(axis=1)
    np.testing.assert_array_equal(scores["valid"], whole)
    np.testing.assert_array_equal(scores["log_prob"][~whole].astype(np.float32), LOWEST)
    expected = flowzoo.from_pretrained(preset).log_prob(rows[whole]).numpy()
    np.testing.assert_allclose(scores["log_prob"][whole], expected, rtol=1e-5)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_tables_with_holes(succeed, preset, tmp_path):
    (tmp_path / "rows.csv").write_text("height,weight\n1,2\n,3\n3,NA\n4,5\n")
    succeed("score", preset, "rows.csv", "--out", "s.csv")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "log_prob,valid"
    assert [line.split(",")[1] for line in lines[1:]] == ["true", "false", "false", "true"]


def test_images(succeed, image_file):
    assert succeed("score", image_file, "digits", "--split", "test", "--out", "s.npy").startswith(
        "scored 180"
    )
    scores = read("s.npy")
    assert list(scores) == ["log_prob", "bits_per_dim", "valid"]
    np.testing.assert_allclose(scores["bits_per_dim"], -scores["log_prob"] / 64 / np.log(2), rtol=1e-5)


def flagged(path):
    scores = read(path)
    assert list(scores) == ["log_prob", "valid", "anomaly"]
    return scores["anomaly"]


def test_a_threshold_flags_rows(succeed, preset, rows, tmp_path):
    np.save(tmp_path / "rows.npy", np.vstack([rows, [[np.nan, 1.0]]]).astype(np.float32))
    scores = -flowzoo.from_pretrained(preset).log_prob(rows).numpy()
    threshold = float(np.sort(scores)[-21:-19].mean())
    said = succeed("score", preset, "rows.npy", "--threshold", threshold, "--out", "s.parquet")
    assert said == f"scored 201 rows (1 not valid), flagged 21 (above {threshold:.6g} nats): s.parquet\n"
    np.testing.assert_array_equal(flagged("s.parquet"), [*(scores > threshold), True])


@pytest.fixture
def calibrated(preset, rows, tmp_path):
    """The same flow with a calibration."""
    flow = flowzoo.from_pretrained(preset)
    flowzoo.applications.AnomalyDetector.from_flow(flow, rows[:99]).save(tmp_path / "detector")
    return tmp_path / "detector"


def test_a_rate_of_false_positives_flags_rows(succeed, calibrated, rows):
    np.save("rows.npy", rows)
    said = succeed("score", calibrated, "rows.npy", "--false-positives", 0.05, "--out", "s.npy")
    detector = flowzoo.applications.AnomalyDetector.load(calibrated)
    wanted = detector.predict(rows, false_positives=0.05)
    np.testing.assert_array_equal(flagged("s.npy"), wanted)
    assert f"flagged {wanted.sum()} (above {detector.threshold(0.05):.6g} nats)" in said


def test_mistakes_about_thresholds(fail, preset, calibrated, csv_file, image_file):
    def failed(model, *options):
        return fail("score", model, csv_file, "--out", "s.csv", *options)

    assert "not both" in failed(calibrated, "--threshold", 3, "--false-positives", 0.1)
    assert "99 rows, which allow false-positive rates of 0.01 or more; got 0.005" in failed(
        calibrated, "--false-positives", 0.005
    )
    assert "between 0 and 1, such as 0.01; got 5.0" in failed(calibrated, "--false-positives", 5)
    assert f"{preset} has no calibration" in failed(preset, "--false-positives", 0.1)
    assert f"{image_file} has no calibration" in failed(image_file, "--false-positives", 0.1)


def test_rows_are_streamed(succeed, preset, tmp_path, monkeypatch):
    """A file of several chunks is never in memory as a whole."""
    from flowzoo.data import source

    monkeypatch.setattr(source, "CHUNK_BYTES", 64 * 8)
    np.save(tmp_path / "rows.npy", np.ones((200, 2), np.float32))
    sizes = []
    flow = flowzoo.from_pretrained(preset)
    monkeypatch.setattr("flowzoo.cli.score.load_flow", lambda model: flow)
    monkeypatch.setattr(flow, "score", lambda x, context: sizes.append(len(x)) or type(flow).score(flow, x))
    assert "scored 200 rows" in succeed("score", preset, "rows.npy", "--out", "s.parquet")
    assert sizes == [64, 64, 64, 8]
    assert len(read("s.parquet")["log_prob"]) == 200


def test_a_failure_leaves_the_old_file(run, preset, csv_file, tmp_path, monkeypatch):
    (tmp_path / "s.csv").write_text("old")
    monkeypatch.setattr("flowzoo.flow.Flow.score", lambda self, x, context: 1 / 0)
    assert run("score", preset, csv_file, "--out", "s.csv").exit_code == 1
    assert (tmp_path / "s.csv").read_text() == "old"
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_mistakes(fail, preset, csv_file, tmp_path):
    assert "must end in .csv, .npy, .parquet" in fail("score", preset, csv_file, "--out", "s.txt")
    assert "Missing option '--out'" in fail("score", preset, csv_file)
    assert "--split is for data sets" in fail("score", preset, csv_file, "--split", "test", "--out", "s.npy")
    assert "has no column 'wieght'" in fail(
        "score", preset, csv_file, "--columns", "height,wieght", "--out", "s.npy"
    )
    (tmp_path / "empty.csv").write_text("height,weight\n")
    assert "no rows" in fail("score", preset, "empty.csv", "--out", "s.csv")
    np.save("wide.npy", np.zeros((9, 3), np.float32))
    assert "Choose columns with --columns." in fail("score", preset, "wide.npy", "--out", "s.npy")
    assert not (tmp_path / "s.npy").exists()
