import numpy as np
import pytest

from flowzoo.data.moments import Moments


def moments_of(rows, *sizes):
    moments = Moments(rows.shape[1:])
    for part in np.split(rows, np.cumsum(sizes)):
        moments.update(part)
    return moments


@pytest.mark.parametrize("sizes", [(), (1,), (10, 0, 30), tuple([3] * 20)])
@pytest.mark.parametrize("shape", [(3,), (2, 2, 1)])
def test_batches_add_up_to_the_whole(rng, shape, sizes):
    rows = rng.normal(3.0, 2.0, (64, *shape))
    moments = moments_of(rows, *sizes)
    assert moments.count == 64
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, rows.var(0), rtol=1e-12)
    np.testing.assert_array_equal(moments.minimum, rows.min(0))
    np.testing.assert_array_equal(moments.maximum, rows.max(0))


def test_no_digit_is_lost_far_from_zero():
    rows = (1e9 + np.array([[4.0], [7.0], [13.0], [16.0]])).repeat(1000, 0)
    assert float(moments_of(rows, 100, 700).variance[0]) == pytest.approx(22.5, rel=1e-9)


def test_float32_rows_are_summed_in_float64(rng):
    rows = rng.normal(1e4, 1.0, (20_000, 1)).astype(np.float32)
    wanted = rows.astype(np.float64).var(0)
    np.testing.assert_allclose(moments_of(rows, 1000).variance, wanted, rtol=1e-9)


def test_whole_numbers_are_detected(rng):
    rows = np.stack([rng.integers(0, 5, 50), rng.normal(size=50)], 1)
    assert moments_of(rows, 20).integral.tolist() == [True, False]
    rows[49, 0] = 0.5
    assert moments_of(rows, 20).integral.tolist() == [False, False]


def test_data_without_rows_are_refused():
    with pytest.raises(ValueError, match=r"the data holds no rows. Check the path"):
        Moments((2,)).check("the data")


def test_bad_rows_are_counted_and_located_over_all_batches(rng, recwarn):
    rows = rng.normal(size=(30, 2, 2))
    rows[11, 0, 1] = np.nan
    rows[25, 1, 1] = np.inf
    rows[26, 1, 1] = -np.inf
    message = r"x holds NaN or infinity in 3 of 30 rows \(first: row 11\); by column: 3 \(2\), 1 \(1\)"
    with pytest.raises(ValueError, match=message):
        moments_of(rows, 10, 10).check("x")
    assert not recwarn.list, "NumPy's own warnings add nothing to the message"
