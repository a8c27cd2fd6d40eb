import json
import subprocess
import sys

import numpy as np
import pytest

from flowzoo.applications import Calibration


@pytest.mark.parametrize(
    ("rows", "rate", "wanted"),
    # (n + 1)(1 - rate), rounded up: the last one is 10 * (1 - 0.7), a little more than 3 in floating point.
    [(99, 0.01, 99), (99, 0.5, 50), (100, 0.05, 96), (19, 0.05, 19), (9, 0.7, 3)],
)
def test_a_threshold_is_the_score_of_a_rank(rows, rate, wanted):
    scores = np.random.default_rng(0).permutation(np.arange(1, rows + 1))
    assert Calibration(scores).threshold(rate) == wanted


def test_new_rows_exceed_the_threshold_at_the_promised_rate(rng):
    """The mean rate over many calibrations is floor((n + 1) rate) / (n + 1), for any distribution."""
    rates = []
    for _ in range(2000):
        threshold = Calibration(rng.exponential(size=50)).threshold(0.1)
        rates.append(np.exp(-threshold))
    assert np.mean(rates) == pytest.approx(5 / 51, abs=5 * np.std(rates) / 2000**0.5)
    assert np.std(rates) == pytest.approx((0.1 * 0.9 / 50) ** 0.5, rel=0.1)


def test_equal_scores_are_never_flagged_too_often():
    calibration = Calibration(np.repeat([1.0, 2.0], 50))
    assert calibration.threshold(0.01) == 2.0
    assert calibration.threshold(0.4) == 2.0
    assert calibration.threshold(0.6) == 1.0


def test_a_rate_too_small_for_the_rows_is_refused():
    with pytest.raises(
        ValueError, match=r"with 10 rows, .* of 0\.091 or more; got 0\.01, which needs 99 rows"
    ):
        Calibration(np.arange(10)).threshold(0.01)
    # The rate that the message names is allowed.
    assert Calibration(np.arange(69)).threshold(0.0143) == 68


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, float("nan")])
def test_a_rate_lies_between_0_and_1(rate):
    with pytest.raises(ValueError, match=r"must lie between 0 and 1, such as 0\.01; got"):
        Calibration(np.arange(100)).threshold(rate)


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [[1.0]], 3.0])
def test_scores_that_are_not_numbers_are_refused(scores):
    with pytest.raises(ValueError, match="scores must be a vector of one or more numbers"):
        Calibration(scores)


def test_a_part_of_many_scores_is_kept():
    calibration = Calibration(np.arange(30_000))
    assert len(calibration.scores) == 10_000
    assert calibration.threshold(0.1) == pytest.approx(27_000, abs=500)


def test_the_metadata_restore_the_calibration_exactly(tmp_path, rng):
    calibration = Calibration(rng.normal(size=50) * 1e3)
    (tmp_path / "metadata.json").write_text(json.dumps(calibration.to_metadata()))
    np.testing.assert_array_equal(Calibration.read(tmp_path).scores, calibration.scores)


@pytest.mark.parametrize("held", [{}, {"scores": []}, {"scores": ["a"]}, {"scores": None}, [1, 2]])
def test_damage_is_reported(tmp_path, held):
    (tmp_path / "metadata.json").write_text(json.dumps({"calibration": held}))
    with pytest.raises(ValueError, match=r"metadata\.json holds no scores"):
        Calibration.read(tmp_path)


def test_a_preset_without_calibration_is_reported(tmp_path):
    with pytest.raises(ValueError, match=r"has no calibration\. Give a threshold in nats"):
        Calibration.read(tmp_path)


def test_it_needs_no_tensorflow():
    code = "import sys; from flowzoo.applications import Calibration; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
