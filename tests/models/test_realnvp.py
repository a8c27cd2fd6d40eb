import itertools

import numpy as np
import pytest

import flowzoo
from flowzoo.layers import ActNorm, AffineCoupling, MultiScale, Permute, Squeeze
from flowzoo.testing import check_inverse, check_log_det, make_flow


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


def transforms(**options):
    return flowzoo.create_model("realnvp", (5,), hidden_units=(4,), **options).transforms


def test_halves_take_turns():
    layers = transforms(steps=3)
    assert kinds(layers) == ["ActNorm", "AffineCoupling"] * 3
    assert [layer.swap for layer in layers[1::2]] == [False, True, False]


def test_actnorm_may_be_left_out():
    assert kinds(transforms(steps=2, actnorm=False)) == ["AffineCoupling"] * 2


@pytest.mark.parametrize("permutation", ["reverse", "random"])
def test_columns_may_be_permuted_between_couplings(permutation):
    layers = transforms(steps=3, actnorm=False, permutation=permutation)
    assert kinds(layers) == ["AffineCoupling", "Permute", "AffineCoupling", "Permute", "AffineCoupling"]
    assert not any(layer.swap for layer in layers if isinstance(layer, AffineCoupling))


def test_random_permutations_follow_their_seed():
    def orders(seed):
        layers = transforms(steps=4, permutation="random", seed=seed)
        return [layer.permutation for layer in layers if isinstance(layer, Permute)]

    assert orders(0) == orders(0) != orders(1)
    assert orders(0)[0] != orders(0)[1]


@pytest.mark.parametrize("permutation", ["alternate", "reverse", "random"])
def test_every_column_is_transformed(permutation, rng):
    flow = make_flow("realnvp", (5,), steps=3, hidden_units=(4,), permutation=permutation, seed=1)
    z = rng.normal(size=(1, 5))
    x = flow.decode(z).numpy()
    moved = flow.decode(z + 1e-3 * np.eye(5)).numpy()
    # Nonlinearly: the second difference of a column that is only scaled and shifted is zero.
    back = flow.decode(z - 1e-3 * np.eye(5)).numpy()
    assert np.all(np.abs(moved + back - 2 * x).max(axis=0) > 0)


def test_images_go_through_scales_as_in_the_paper():
    (multiscale,) = flowzoo.create_model(
        "realnvp", (8, 8, 1), levels=2, channels=4, blocks=0, actnorm=False
    ).transforms
    assert isinstance(multiscale, MultiScale)
    masks = [[getattr(layer, "mask", "squeeze") for layer in scale] for scale in multiscale.scales]
    block = ["checkerboard"] * 3 + ["squeeze"] + ["half"] * 3
    assert masks == [block, [*block, *["checkerboard"] * 4]]


def test_the_last_scale_of_an_odd_grid_has_channel_couplings():
    (multiscale,) = flowzoo.create_model(
        "realnvp", (6, 6, 1), levels=1, channels=4, blocks=0, actnorm=False
    ).transforms
    (scale,) = multiscale.scales
    assert [layer.mask for layer in scale[-4:]] == ["half"] * 4


def test_actnorms_stand_before_image_couplings_too():
    (multiscale,) = flowzoo.create_model("realnvp", (4, 4, 1), levels=1, channels=4, blocks=0).transforms
    layers = multiscale.scales[0]
    for before, layer in itertools.pairwise(layers):
        if isinstance(layer, AffineCoupling):
            assert isinstance(before, ActNorm)
    assert sum(isinstance(layer, Squeeze) for layer in layers) == 1


@pytest.mark.parametrize("context", [None, (3,)])
def test_two_levels_of_two_channels_keep_their_promises(context):
    flow = make_flow("realnvp", (4, 4, 2), context, levels=2, channels=4, blocks=0, noise=0.05)
    assert flow.latent_shape == (32,)
    check_inverse(flow)
    check_log_det(flow)


@pytest.mark.parametrize(
    "options", [{"weight_norm": True, "dropout": 0.5}, {"scale_bound": 0.0}, {"activation": "gelu"}]
)
def test_every_option_of_the_conditioners_gives_a_flow(options):
    check_inverse(make_flow("realnvp", (4,), steps=2, hidden_units=(4,), **options))


@pytest.mark.parametrize(
    ("event", "options", "message"),
    [
        ((6, 5, 1), {}, r"divisible by 2\*\*levels = 4; got \(6, 5, 1\)\. Use fewer levels, or pad or crop"),
        ((28, 28, 1), {"levels": 3}, r"divisible by 2\*\*levels = 8; got \(28, 28, 1\)"),
        ((4, 4, 1), {"levels": 0}, "divisible"),
        ((4,), {"permutation": "shuffle"}, "permutation must be one of.*got 'shuffle'"),
        ((4,), {"scale_bound": -1.0}, "scale_bound must be >= 0"),
        ((4,), {"hidden_units": ()}, "hidden_units must hold positive widths"),
    ],
)
def test_invalid_options_are_refused(event, options, message):
    with pytest.raises(ValueError, match=message):
        flowzoo.create_model("realnvp", event, **options)
