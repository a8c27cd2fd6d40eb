import keras
import numpy as np
import pytest
import tensorflow as tf

from flowzoo.conditioners import ConvNet
from flowzoo.conditioners.convolution import Conv2D


def make(inputs, outputs, size, **options):
    keras.utils.set_random_seed(0)
    layer = Conv2D(outputs, size, padding="same", bias_initializer="normal", **options)
    layer.build((None, 6, 4, inputs))
    return layer


def value_and_gradients(layer, x, compiled):
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.sin(y))
        return y, *tape.gradient(loss, [x, layer.kernel.value, layer.bias.value])

    return tf.function(run, jit_compile=compiled, autograph=False)(x)


@pytest.mark.parametrize("size", [1, 2, 3, (3, 1)])
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 8), (8, 2)])
def test_products_give_the_convolution_and_its_gradients(rng, inputs, outputs, size):
    layer = make(inputs, outputs, size)
    assert layer.is_narrow
    x = tf.constant(rng.normal(size=(3, 6, 4, inputs)).astype("float32"))
    wanted = keras.layers.Conv2D.convolution_op(layer, x, layer.kernel.value) + layer.bias.value
    got = value_and_gradients(layer, x, compiled=True)
    np.testing.assert_allclose(got[0], wanted, rtol=1e-5, atol=1e-5)
    for product, convolution in zip(got, value_and_gradients(layer, x, compiled=False), strict=True):
        np.testing.assert_allclose(product, convolution, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "narrow"),
    [(8, 8, 3, False), (7, 8, 3, False), (6, 8, 3, True), (8, 8, 1, True)],
)
def test_wide_ones_stay_convolutions(inputs, outputs, size, narrow):
    layer = make(inputs, outputs, size)
    assert layer.is_narrow == narrow
    program = tf.function(layer, jit_compile=True).experimental_get_compiler_ir(tf.zeros([2, 6, 4, inputs]))
    assert ("convolution(" in program(stage="hlo")) != narrow


def test_half_precision_stays_a_convolution():
    assert not make(2, 8, 3, dtype="mixed_bfloat16").is_narrow


@pytest.mark.parametrize(
    ("options", "well"),
    [({"residual": False}, True), ({}, False), ({"residual": False, "weight_norm": True}, False)],
)
def test_what_compiles_well(options, well):
    network = ConvNet(channels=16, blocks=1, **options)
    network.build((None, 4, 4, 2), (None, 4, 4, 4))
    assert network.compiles_well == well
