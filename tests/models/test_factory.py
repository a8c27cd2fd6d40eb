import keras
import numpy as np
import pytest

import flowzoo
from flowzoo import bases, layers

SMALL = {"steps": 1, "hidden_units": (4,)}
SMALL_IMAGE = {"levels": 1, "channels": 4, "blocks": 0}


def kinds(flow):
    return [type(layer) for layer in flow.preprocessing]


def test_vectors_are_standardised_and_images_are_pixels_by_default():
    assert kinds(flowzoo.create_model("realnvp", (2,), **SMALL)) == [layers.Standardize]
    image = flowzoo.create_model("realnvp", (4, 4, 1), **SMALL_IMAGE)
    assert kinds(image) == [layers.Dequantize, layers.Logit]
    assert (image.preprocessing[1].low, image.preprocessing[1].high) == (0.0, 256.0)


def test_preprocessing_may_be_left_out():
    assert kinds(flowzoo.create_model("realnvp", (2,), preprocessing="none", **SMALL)) == []


def test_pixels_may_have_other_levels():
    flow = flowzoo.create_model("realnvp", (4, 4, 1), pixel_levels=17, **SMALL_IMAGE)
    assert flow.preprocessing[1].high == 17.0
    with pytest.raises(ValueError, match="pixel_levels must be at least 2; got 1"):
        flowzoo.create_model("realnvp", (4, 4, 1), pixel_levels=1, **SMALL_IMAGE)


@pytest.mark.parametrize("steps", [1.0, [1.0, 0.0], np.array([0.5, 0.0])])
def test_discrete_columns_are_dequantised_before_they_are_standardised(steps):
    flow = flowzoo.create_model("realnvp", (2,), dequantize=steps, **SMALL)
    assert kinds(flow) == [layers.Dequantize, layers.Standardize]
    np.testing.assert_array_equal(flow.preprocessing[0].width, np.asarray(steps))


def test_a_uniform_base_is_reached_through_a_sigmoid():
    flow = flowzoo.create_model("realnvp", (2,), base="uniform", **SMALL)
    assert isinstance(flow.base, bases.Uniform)
    assert isinstance(flow.transforms[-1], layers.Sigmoid)


def test_the_dtype_reaches_every_layer():
    flow = flowzoo.create_model("realnvp", (2,), dtype="float64", **SMALL)
    assert {weight.dtype for weight in flow.weights} == {"float64"}
    mixed = flowzoo.create_model("realnvp", (2,), dtype="mixed_bfloat16", **SMALL)
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert mixed.transforms[1].conditioner.compute_dtype == "bfloat16"


def test_the_global_dtype_policy_survives_a_failure():
    with pytest.raises(ValueError, match="base must be one of"):
        flowzoo.create_model("realnvp", (2,), dtype="float64", base="cauchy", **SMALL)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_shape": 3}, r"event_shape must be a tuple such as \(8,\); got 3"),
        ({"event_shape": ()}, r"event_shape must hold sizes >= 1; got \(\)"),
        ({"event_shape": (0,)}, r"event_shape must hold sizes >= 1; got \(0,\)"),
        (
            {"event_shape": (4, 4)},
            r"realnvp takes events of shape \(D,\) or \(H, W, C\); got event_shape=\(4, 4\)",
        ),
        ({"event_shape": (1,)}, "at least 2 columns"),
        ({"context_shape": (2, 2)}, r"context_shape must be \(size,\): contexts are vectors; got \(2, 2\)"),
        ({"context_shape": 3}, "context_shape must be a tuple"),
        ({"preprocessing": "squash"}, "preprocessing must be one of.*got 'squash'"),
        ({"base": "cauchy"}, "base must be one of.*got 'cauchy'"),
        ({"preprocessing": "pixels", "dequantize": 1.0}, "dequantizes by itself; leave dequantize out"),
        ({"dequantize": -1.0}, "finite step >= 0"),
        ({"dequantize": [1.0, 1.0, 1.0]}, r"does not fit event shape \(2,\)"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        flowzoo.create_model("realnvp", **{"event_shape": (2,), **SMALL, **arguments})


def test_numpy_options_are_kept_as_plain_numbers():
    flow = flowzoo.create_model("realnvp", (2,), steps=np.int64(1), hidden_units=np.array([4]))
    assert flow.options["steps"] == 1
    assert type(flow.options["steps"]) is int
    assert flow.options["hidden_units"] == [4]
