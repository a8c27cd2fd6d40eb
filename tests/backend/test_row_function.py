import numpy as np
import pytest
import tensorflow as tf

from flowzoo.backend import sharding
from flowzoo.backend.row_function import RowFunction


class Spied:
    """Doubles rows, and records the number of rows of each trace and of each run."""

    def __init__(self):
        self.traced = []

    def __call__(self, x, y):
        self.traced.append(x.shape[0])
        return {"sum": x + y, "first": x[:, 0]}


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_any_number_of_rows_comes_back_in_order(rows, jit_compile):
    x = tf.reshape(tf.range(2.0 * rows), [rows, 2])
    got = RowFunction(Spied(), 4, jit_compile, 1)(x, 10 * x)
    np.testing.assert_array_equal(got["sum"], 11 * x)
    np.testing.assert_array_equal(got["first"], x[:, 0])


def test_few_sizes_are_compiled():
    spied = Spied()
    function = RowFunction(spied, 8, jit_compile=False, weights=1)
    for rows in range(40):
        function(tf.ones([rows, 2]), tf.ones([rows, 2]))
    assert sorted(spied.traced) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("cores", "rows", "count"), [(1, 512, 1), (2, 512, 2), (3, 512, 2), (8, 300, 8), (8, 127, 2), (8, 64, 1)]
)
def test_cores_share_the_rows(monkeypatch, cores, rows, count):
    """Equal parts, so that one program serves all: it is traced once."""
    monkeypatch.setattr(sharding, "cores", lambda: cores)
    spied = Spied()
    function = RowFunction(spied, 512, jit_compile=True, weights=10**6)
    x = tf.reshape(tf.range(2.0 * rows), [rows, 2])
    for _ in range(2):
        got = function(x, 10 * x)
    np.testing.assert_array_equal(got["sum"], 11 * x)
    size = 1 << (rows - 1).bit_length()
    assert spied.traced == [size // count]


def test_images_use_more_cores_by_their_pixels(monkeypatch):
    monkeypatch.setattr(sharding, "cores", lambda: 8)
    spied = Spied()
    RowFunction(spied, 512, jit_compile=True, weights=10**6, places=16)(tf.ones([32, 2]), tf.ones([32, 2]))
    assert spied.traced == [4]


def test_little_work_stays_on_one_core(monkeypatch):
    monkeypatch.setattr(sharding, "cores", lambda: 8)
    spied = Spied()
    x = tf.ones([512, 2])
    RowFunction(spied, 512, jit_compile=True, weights=100)(x, x)
    assert spied.traced == [512]


def test_many_sizes_and_functions_cause_no_warning(monkeypatch):
    said = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda *args: said.append(args))
    monkeypatch.setattr(sharding, "cores", lambda: 2)

    def plain(x):
        return 2 * x

    for _ in range(8):
        double = RowFunction(plain, 2**14, jit_compile=True, weights=2**20)
        for rows in (1, 2, 4, 128, 256, 512):
            double(tf.ones([rows, 1]))
    assert not said


def test_padding_repeats_existing_rows():
    """A logarithm of zero in the padding would not change results but would fail NaN checks."""

    def function(x):
        tf.debugging.assert_positive(x)
        return tf.math.log(x)

    got = RowFunction(function, 8, jit_compile=False, weights=1)(tf.fill([3, 1], 2.0))
    np.testing.assert_allclose(got, np.log(2.0) * np.ones((3, 1)), rtol=1e-6)


def test_inside_another_trace_the_plain_function_runs():
    spied = Spied()
    function = RowFunction(spied, 4, jit_compile=True, weights=1)

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def graph(x):
        return function(x, x)["sum"]

    np.testing.assert_array_equal(graph(tf.ones([9, 2])), 2 * np.ones((9, 2)))
    assert spied.traced == [None]


def test_gradients_flow_through_what_is_called_without_tensorflows_look_at_them():
    double = RowFunction(lambda x: x * x, 8, jit_compile=True, weights=1)
    x = tf.constant([[3.0], [4.0]])
    np.testing.assert_array_equal(double(x), [[9.0], [16.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = double(x)
    np.testing.assert_array_equal(tape.gradient(y, x), [[6.0], [8.0]])
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
        y = double(x)
    np.testing.assert_array_equal(accumulator.jvp(y), [[6.0], [8.0]])


def test_weights_may_change_between_calls():
    weight = tf.Variable(2.0)
    times = RowFunction(lambda x: x * weight, 8, jit_compile=True, weights=1)
    x = tf.constant([[3.0]])
    assert float(times(x)[0, 0]) == 6.0
    weight.assign(5.0)
    assert float(times(x)[0, 0]) == 15.0
    with tf.GradientTape() as tape:
        y = times(x)
    assert float(tape.gradient(y, weight)) == 3.0
