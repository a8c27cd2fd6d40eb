import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from flowzoo.bijectors import Affine, Chain, FusedBijector, forward_and_log_det, inverse_and_log_det


class Counting(FusedBijector):
    """Doubles its input and counts its passes."""

    def __init__(self, dtype=tf.float32):
        self.passes = 0
        super().__init__((2,), (2,), dtype=dtype, name="counting")

    def _forward_and_log_det(self, z):
        self.passes += 1
        return 2 * z, tf.reduce_sum(tf.zeros_like(z), -1) + 2 * np.log(2.0)

    def _inverse_and_log_det(self, x):
        self.passes += 1
        return x / 2, tf.reduce_sum(tf.zeros_like(x), -1) - 2 * np.log(2.0)


def test_tfp_methods_follow_from_the_two_methods_of_a_subclass():
    bijector = Counting()
    z = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(bijector.forward(z), [[2.0, 4.0]])
    np.testing.assert_array_equal(bijector.inverse(z), [[0.5, 1.0]])
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(z, 1), [2 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(z, 1), [-2 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_value_and_log_det_of_one_tensor_cost_one_pass(direction):
    bijector, rows = Counting(), tf.ones([3, 2])
    getattr(bijector, direction)(rows)
    getattr(bijector, f"{direction}_log_det_jacobian")(rows, 1)
    assert bijector.passes == 1


def test_value_and_log_det_cost_one_pass_in_a_graph():
    bijector = Counting()

    @tf.function
    def both(x):
        return bijector.inverse(x), bijector.inverse_log_det_jacobian(x, 1)

    both(tf.ones([3, 2]))
    assert bijector.passes == 1


def test_another_tensor_is_another_pass():
    bijector = Counting()
    np.testing.assert_array_equal(bijector.forward(tf.ones([1, 2])), [[2.0, 2.0]])
    np.testing.assert_array_equal(bijector.forward(tf.zeros([1, 2])), [[0.0, 0.0]])
    assert bijector.passes == 2


def test_memory_does_not_leak_tensors_out_of_a_loop_body():
    # Calls the methods that TFP calls, because TFP's own cache leaks here (as with `tfb.Exp`).
    bijector = Counting()

    def value_and_log_det(x):
        return bijector._inverse(x) + bijector._inverse_log_det_jacobian(x)[:, None]

    @tf.function
    def loop_then_outside(x):
        def body(i, total):
            return i + 1, total + value_and_log_det(x)

        _, total = tf.while_loop(lambda i, _: i < 3, body, (0, tf.zeros_like(x)))
        return total, value_and_log_det(x)

    total, outside = loop_then_outside(tf.ones([2, 2]))
    np.testing.assert_allclose(outside, np.full([2, 2], 0.5 - 2 * np.log(2)), rtol=1e-6)
    np.testing.assert_allclose(total, 3 * outside, rtol=1e-6)


def test_memory_does_not_leak_from_a_trace_into_eager_code():
    bijector, x = Counting(), tf.ones([2, 2])
    traced = tf.function(lambda: bijector._inverse(x))
    np.testing.assert_array_equal(traced(), np.full([2, 2], 0.5))
    np.testing.assert_array_equal(bijector._inverse(x), np.full([2, 2], 0.5))


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det", "forward", "inverse"])
def test_wrong_event_shape_is_reported_with_the_expected_one(method):
    with pytest.raises(ValueError, match=r"counting: expected event shape \(2,\).*got \(3,\)"):
        getattr(Counting(), method)(tf.ones([4, 3]))


def test_too_few_dimensions_are_refused():
    with pytest.raises(ValueError, match="expected event shape"):
        Counting().forward_and_log_det(tf.constant(1.0))


def test_wrong_event_shape_is_refused_in_shape_queries():
    with pytest.raises(ValueError, match=r"on the data side; got \(5,\)"):
        Counting().inverse_event_shape([5])


def test_wrong_dtype_is_refused():
    with pytest.raises(TypeError, match="expected float32; got float64"):
        Counting().forward_and_log_det(tf.ones([1, 2], tf.float64))


def test_lists_are_converted_to_the_bijectors_dtype():
    assert Counting(tf.float64).forward_and_log_det([[1.0, 2.0]])[0].dtype == tf.float64


def test_unknown_rank_is_refused_with_advice():
    @tf.function(input_signature=[tf.TensorSpec(None)])
    def forward(z):
        return Counting().forward_and_log_det(z)[0]

    with pytest.raises(ValueError, match="ensure_shape"):
        forward.get_concrete_function()


def test_unknown_sizes_are_checked_when_they_run():
    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def forward(z):
        return Counting().forward_and_log_det(z)[0]

    assert forward(tf.ones([2, 2])).shape == (2, 2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        forward(tf.ones([2, 3]))


def test_bijectors_are_equal_to_themselves_only():
    one, other = Counting(), Counting()
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_inversion_by_tfp():
    inverted = tfp.bijectors.Invert(Counting())
    np.testing.assert_array_equal(inverted.forward([[2.0, 4.0]]), [[1.0, 2.0]])
    np.testing.assert_allclose(inverted.forward_log_det_jacobian([[2.0, 4.0]], 1), -2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("bijector", [Counting(), tfp.bijectors.Scale(2.0)])
def test_the_pair_of_any_bijector(bijector):
    x, log_det = forward_and_log_det(bijector, tf.ones([1, 2]), 1)
    np.testing.assert_array_equal(x, [[2.0, 2.0]])
    np.testing.assert_allclose(np.squeeze(log_det), 2 * np.log(2), rtol=1e-6)
    z, log_det = inverse_and_log_det(bijector, x, 1)
    np.testing.assert_array_equal(z, [[1.0, 1.0]])
    np.testing.assert_allclose(np.squeeze(log_det), -2 * np.log(2), rtol=1e-6)


def test_sample_dimensions_in_front_pass_through():
    chain = Chain([Affine([1.0, 2.0], [0.5, 0.0], (2,))], (2,))
    x, log_det = chain.forward_and_log_det(tf.zeros([5, 4, 2]))
    assert x.shape == (5, 4, 2)
    np.testing.assert_allclose(np.broadcast_to(log_det, [5, 4]), 0.5)
