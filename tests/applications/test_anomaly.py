import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_auc_score

import flowzoo
from flowzoo.applications import AnomalyDetector, anomaly
from flowzoo.data import toy


@pytest.fixture(scope="module")
def table():
    """150 rows of three columns, two of them correlated: too few rows to train on."""
    return _table(150, 1)


@pytest.fixture(scope="module")
def detector(table):
    return AnomalyDetector().fit(table)


def _table(rows, seed):
    z = np.random.default_rng([seed, 5]).normal(size=(rows, 3))
    return np.stack([z[:, 0], 100 + 10 * (z[:, 0] + 0.1 * z[:, 1]), 1e-3 * z[:, 2]], axis=1)


# -- scores ----------------------------------------------------------------------------------
def test_an_unusual_combination_of_usual_values_is_found(detector):
    # Each value lies within two standard deviations of its column.
    strange = [[1.5, 85.0, 0.0], [-1.5, 115.0, 0.0]]
    assert detector.predict(strange, false_positives=0.05).tolist() == [True, True]
    assert detector.predict([[0.0, 100.0, 0.0]], false_positives=0.05).tolist() == [False]


def test_the_score_is_minus_log_prob(detector, table):
    scores = detector.score(table)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, -detector.flow.log_prob(table).numpy(), rtol=1e-5)


def test_few_rows_get_a_gaussian_in_raw_units(detector):
    """Close to the distribution of the rows plus noise of a tenth of each deviation; shrinkage adds more."""
    assert detector.flow.options["steps"] == 0
    rows = _table(2000, 2)
    covariance = np.array([[1, 10, 0], [10, 101, 0], [0, 0, 1e-6]])
    blurred = covariance + np.diag(0.01 * np.diag(covariance))
    exact = -multivariate_normal([0, 100, 0], blurred).logpdf(rows)
    scores = detector.score(rows)
    assert np.corrcoef(scores, exact)[0, 1] > 0.95
    assert 0 < scores.mean() - exact.mean() < 0.8


def test_normal_rows_are_flagged_at_the_requested_rate(detector):
    """With 30 held-out rows, the rate scatters by 0.07 around 6/31 = 0.19."""
    assert len(detector.calibration.scores) == 30
    rate = detector.predict(_table(5000, 3), false_positives=0.2).mean()
    assert rate == pytest.approx(0.19, abs=0.2)
    assert rate > 0


def test_rows_that_are_not_finite_are_anomalies(detector):
    rows = [[np.nan, 100.0, 0.0], [0.0, np.inf, 0.0], [0.0, 100.0, 0.0]]
    assert detector.predict(rows, false_positives=0.05).tolist() == [True, True, False]
    assert (detector.score(rows[:2]) == np.finfo(np.float32).max).all()


def test_a_fit_can_be_repeated(detector, table):
    again = AnomalyDetector().fit(table)
    np.testing.assert_array_equal(again.calibration.scores, detector.calibration.scores)
    other = AnomalyDetector(seed=1).fit(table)
    assert not np.array_equal(other.calibration.scores, detector.calibration.scores)


# -- tables of all kinds ---------------------------------------------------------------------
def test_ties_and_constant_columns_are_handled(rng):
    rows = np.stack(
        [rng.integers(0, 3, 120), np.full(120, 0.1), np.full(120, 5000), rng.integers(0, 2, 120)], axis=1
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector = AnomalyDetector().fit(rows)
    assert not [str(warning.message) for warning in caught if "density" in str(warning.message)]
    usual = detector.score(rows).max()
    assert np.isfinite(usual)
    for strange in ([1, 5.0, 5000, 1], [1, 0.1, 0, 1], [9, 0.1, 5000, 1], [1, 0.1, 5000, 5]):
        assert detector.score([strange])[0] > usual


def test_more_columns_than_rows(rng):
    rows = rng.normal(size=(50, 200))
    detector = AnomalyDetector().fit(rows)
    assert roc_auc_score([0] * 50 + [1] * 50, detector.score(np.vstack([rows, 2 * rows]))) > 0.9


def test_tables_other_than_arrays(table):
    lists = AnomalyDetector().fit(table.tolist())
    frame = pytest.importorskip("pandas").DataFrame(table)
    frames = AnomalyDetector().fit(frame)
    np.testing.assert_array_equal(lists.calibration.scores, frames.calibration.scores)
    np.testing.assert_array_equal(frames.score(frame), lists.score(table))


# -- training --------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_flow_finds_anomalies_that_a_gaussian_misses():
    """There are no rows between two moons, where a Gaussian has its mode."""
    detector = AnomalyDetector().fit(toy.sample("two_moons", 2000, seed=0)[0])
    normal, _ = toy.sample("two_moons", 1000, seed=1)
    everywhere = np.random.default_rng(2).uniform(normal.min(0), normal.max(0), (1000, 2))
    far = toy.log_density("two_moons", everywhere) < -5
    scores = detector.score(np.vstack([normal, everywhere[far]]))
    assert detector.flow.options["steps"] == 3
    assert roc_auc_score(np.repeat([0, 1], [1000, far.sum()]), scores) > 0.97
    # 400 held-out rows: 0.05 with a standard deviation of 0.011.
    assert detector.predict(normal, false_positives=0.05).mean() == pytest.approx(0.05, abs=0.04)


@pytest.mark.slow
def test_training_that_does_not_help_is_undone(monkeypatch, rng):
    """Rows on a ring; validation rows from a Gaussian with the ring's covariance, where the fit starts."""
    monkeypatch.setattr(anomaly, "_PATIENCE", 1)
    angle = rng.uniform(0, 2 * np.pi, 500)
    ring = (np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)
    flow = flowzoo.create_model("nsf", (2,), base="full_gaussian", **anomaly._options(500))
    width = anomaly._width(ring, 0.1)
    anomaly._start_as_gaussian(flow, anomaly._blurred(ring, width, rng))
    start = flow.get_weights()
    validation = rng.normal(size=(500, 2)).astype(np.float32)
    anomaly._train(flow, ring, validation, width, seed=0, verbose=0)
    for before, after in zip(start, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_batches_have_new_noise_at_every_step_and_are_the_same_in_every_run():
    rows = np.array([[0.0, 0.0], [100.0, 50.0]], np.float32)

    def batches(seed):
        taken = anomaly._batches(rows, np.array([1.0, 0.1]), 256, seed).take(2)
        return np.stack(list(taken.as_numpy_iterator()))

    first, second = batches(0)
    assert first.shape == (256, 2)
    assert first.dtype == np.float32
    noise = first - rows[(first[:, 0] > 50).astype(int)]
    np.testing.assert_allclose(noise.std(0), [1.0, 0.1], rtol=0.2)
    assert 0.3 < (first[:, 0] > 50).mean() < 0.7
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(batches(0), batches(0))
    assert not np.array_equal(batches(0), batches(1))


# -- fitted flows, save and load -------------------------------------------------------------
def test_calibration_rows_must_be_finite(detector, table):
    rows = table.copy()
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinity in 1 of 150 rows"):
        AnomalyDetector.from_flow(detector.flow, rows)


def test_any_fitted_flow_can_be_calibrated(rng):
    flow = flowzoo.create_model("realnvp", (4, 4, 1), levels=1, channels=4, blocks=1)
    images = rng.integers(0, 256, (60, 4, 4, 1))
    flow.adapt(images)
    detector = AnomalyDetector.from_flow(flow, images)
    assert detector.flow is flow
    assert detector.predict(images, false_positives=0.1).sum() == 5


def test_save_and_load_keep_the_detector(detector, table, tmp_path):
    detector.save(tmp_path / "detector")
    loaded = AnomalyDetector.load(tmp_path / "detector")
    np.testing.assert_array_equal(loaded.calibration.scores, detector.calibration.scores)
    np.testing.assert_allclose(loaded.score(table), detector.score(table), rtol=1e-6)
    assert flowzoo.from_pretrained(tmp_path / "detector").event_shape == (3,)


def test_a_preset_without_calibration_is_not_a_detector():
    with pytest.raises(ValueError, match="nsf_two_moons has no calibration"):
        AnomalyDetector.load("nsf_two_moons")


# -- mistakes --------------------------------------------------------------------------------
def test_before_fit_the_message_says_what_to_do(table):
    for call in (lambda d: d.score(table), lambda d: d.threshold(), lambda d: d.save("x")):
        with pytest.raises(ValueError, match="no flow yet: call fit"):
            call(AnomalyDetector())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros(30), "two columns or more.*got shape \\(30,\\)"),
        (np.zeros((30, 1)), "use quantiles"),
        (np.zeros((30, 4, 4, 1)), "AnomalyDetector.from_flow"),
        (np.zeros((19, 3)), "x has 19 rows; at least 20 are needed"),
        ([["a", "b"]] * 30, "x must"),
        (np.full((30, 2), np.nan), "holds NaN or infinity in 30 of 30 rows"),
    ],
)
def test_tables_that_cannot_be_fitted(rows, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector().fit(rows)


def test_options_are_checked(table):
    for noise in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="noise must be > 0"):
            AnomalyDetector(noise=noise)
    for share in (0, 1, 2):
        with pytest.raises(ValueError, match="held_out must lie between 0 and 1"):
            AnomalyDetector(held_out=share)
    with pytest.raises(ValueError, match=r"held_out=0\.99 of 20 rows leaves fewer than 2 to fit"):
        AnomalyDetector(held_out=0.99).fit(table[:20])


# -- absurd values -------------------------------------------------------------------------------
def test_a_few_absurd_rows_change_nothing_but_a_warning(rng):
    x = rng.normal(size=(180, 3)) * [1.0, 20.0, 0.1] + [5.0, 100.0, 0.0]
    spoilt = np.concatenate([x, [[5.0, 1e12, 0.0]]])
    clean = AnomalyDetector().fit(x)
    with pytest.warns(UserWarning, match=r"1 of 181 rows.*first: row 180.*column 1"):
        detector = AnomalyDetector().fit(spoilt)
    test = rng.normal(size=(500, 3)) * [1.0, 20.0, 0.1] + [5.0, 100.0, 0.0]
    np.testing.assert_allclose(detector.score(test).mean(), clean.score(test).mean(), rtol=0.05)
    assert detector.predict([[5.0, 1e12, 0.0]], false_positives=0.1).tolist() == [True]


def test_masked_entries_are_refused(rng):
    masked = np.ma.masked_greater(rng.normal(size=(50, 2)), 1.0)
    with pytest.raises(ValueError, match="masked array"):
        AnomalyDetector().fit(masked)
