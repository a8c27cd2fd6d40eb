import numpy as np

from flowzoo.bijectors import Flatten


def test_pixels_are_in_row_major_order(rng):
    x = rng.normal(size=(2, 3, 4, 5, 2)).astype("float32")
    flatten = Flatten((4, 5, 2))
    z, log_det = flatten.inverse_and_log_det(x)
    np.testing.assert_array_equal(z, x.reshape(2, 3, 40))
    assert float(log_det) == 0
    back, log_det = flatten.forward_and_log_det(z)
    np.testing.assert_array_equal(back, x)
    assert float(log_det) == 0
