import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Permute
from flowzoo.testing import check_bijector


@pytest.mark.parametrize("order", [[2, 0, 3, 1], [3, 2, 1, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("event", [(4,), (2, 2, 4)])
def test_it_is_tfps_permute(assert_like_oracle, rng, order, event):
    bijector = Permute(order, event, dtype=tf.float64)
    assert_like_oracle(bijector, tfp.bijectors.Permute(order), rng.normal(size=(3, *event)))
    check_bijector(bijector, rng.normal(size=(3, *event)))


def test_entry_i_of_the_data_is_latent_permutation_i():
    assert Permute([2, 0, 1], (3,)).forward([[10.0, 11.0, 12.0]]).numpy().tolist() == [[12.0, 10.0, 11.0]]


def test_values_are_moved_to_the_last_bit(rng):
    z = rng.normal(size=(3, 4)).astype(np.float32)
    bijector = Permute([1, 3, 0, 2], (4,))
    np.testing.assert_array_equal(bijector.inverse(bijector.forward(z)), z)


@pytest.mark.parametrize("order", [[0, 0, 1], [0, 1], [1, 2, 3], [0, 1, 2, 3]])
def test_a_list_that_is_not_a_permutation_is_refused(order):
    with pytest.raises(ValueError, match=r"each of 0\.\.2 once; got"):
        Permute(order, (3,))
