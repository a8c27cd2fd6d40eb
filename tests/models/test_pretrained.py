import json
import pickle
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import flowzoo
from flowzoo import Flow, bases
from flowzoo.data import toy
from flowzoo.layers import ActNorm
from flowzoo.storage import files, presets
from flowzoo.storage.provenance import versions
from flowzoo.storage.registry import describe_preset
from flowzoo.testing import perturb

SMALL = {"steps": 1, "hidden_units": (4,)}


@pytest.fixture
def flow(rng):
    flow = flowzoo.create_model("realnvp", (2,), (3,), dequantize=np.array([1.0, 0.0]), **SMALL)
    flow.adapt(rng.normal(5.0, 3.0, (64, 2)), rng.normal(size=(64, 3)))
    perturb(flow, 0.2)
    flow.use_xla = False
    return flow


@pytest.fixture
def directory(flow, tmp_path):
    flow.save_to_preset(tmp_path / "preset", metadata={"test": {"nll": 1.5}})
    return tmp_path / "preset"


def edit(path, **changes):
    """Changes a file of a preset, and the digest of the configuration with it."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    if path.name == "config.json":
        edit(path.parent / "metadata.json", config_sha256=files.sha256(path))


# -- save and load ---------------------------------------------------------------------------
def test_a_preset_is_a_directory_of_three_files(directory):
    names = {"config.json", "model.weights.h5", "metadata.json"}
    assert {file.name for file in directory.iterdir()} == names


def test_loading_gives_the_same_flow(flow, directory, rng):
    loaded = flowzoo.from_pretrained(directory)
    loaded.use_xla = False
    x, context = rng.normal(5, 3, (4, 2)), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(loaded.log_prob(x, context), flow.log_prob(x, context))
    np.testing.assert_array_equal(
        loaded.sample(context=context, seed=0), flow.sample(context=context, seed=0)
    )
    assert loaded.options == flow.options
    assert float(loaded.adapted.numpy()) == 1.0


def test_loading_takes_a_string_too(directory):
    assert flowzoo.from_pretrained(str(directory)).architecture == "realnvp"


def test_the_metadata_say_what_was_measured_and_with_which_versions(flow, directory):
    metadata = presets.preset_metadata(directory)
    assert metadata["test"] == {"nll": 1.5}
    assert metadata["parameters"] == flow.count_params()
    assert metadata["versions"] == versions()
    assert len(metadata["weights_sha256"]) == 64


def test_the_weights_hold_no_optimizer(flow, tmp_path, rng):
    flow.save_to_preset(tmp_path / "before")
    flow.compile(run_eagerly=True)
    flow.fit(rng.normal(5, 3, (32, 2)), rng.normal(size=(32, 3)), verbose=0)
    flow.save_to_preset(tmp_path / "after")
    sizes = [(tmp_path / name / "model.weights.h5").stat().st_size for name in ("before", "after")]
    assert sizes[0] == sizes[1]


def test_a_dtype_is_kept(tmp_path):
    flowzoo.create_model("realnvp", (2,), dtype="float64", **SMALL).save_to_preset(tmp_path / "preset")
    assert flowzoo.from_pretrained(tmp_path / "preset").variable_dtype == "float64"


def test_saving_again_replaces_the_preset_whole(flow, directory):
    (directory / "stray.txt").write_text("old")
    flow.save_to_preset(directory)
    assert not (directory / "stray.txt").exists()
    assert [entry.name for entry in directory.parent.iterdir()] == ["preset"]
    flowzoo.from_pretrained(directory)


def test_a_directory_that_holds_something_else_is_not_changed(flow, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="exists and is not a preset; choose another"):
        flow.save_to_preset(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_another_programs_config_makes_no_preset(flow, tmp_path):
    (tmp_path / "config.json").write_text('{"port": 80}')
    (tmp_path / "app.py").write_text("precious")
    with pytest.raises(ValueError, match="exists and is not a preset; choose another"):
        flow.save_to_preset(tmp_path)
    assert (tmp_path / "app.py").read_text() == "precious"


def test_the_preset_of_a_run_is_found(flow, tmp_path):
    flow.save_to_preset(tmp_path / "preset")
    assert flowzoo.from_pretrained(tmp_path).event_shape == flow.event_shape


def test_a_flow_assembled_by_hand_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"assembled by hand.*register_model.*flow\.save"):
        Flow([ActNorm()], (2,)).save_to_preset(tmp_path / "preset")
    assert not (tmp_path / "preset").exists()


# -- .keras files ----------------------------------------------------------------------------
READER = """
import sys
import flowzoo
import numpy as np

held = np.load(sys.argv[2])
flow = flowzoo.from_pretrained(sys.argv[1])
got = flow.density.log_density(held["x"], held["context"])
np.testing.assert_array_equal(got, held["log_density"])
"""


def test_a_fresh_process_loads_a_keras_file(flow, tmp_path, rng):
    """In a new process only `import flowzoo` registers our classes with Keras."""
    x, context = rng.normal(5, 3, (4, 2)).astype("f"), rng.normal(size=(4, 3)).astype("f")
    flow.save(tmp_path / "flow.keras")
    np.savez(tmp_path / "held.npz", x=x, context=context, log_density=flow.density.log_density(x, context))
    files = [str(tmp_path / name) for name in ("flow.keras", "held.npz")]
    done = subprocess.run(
        [sys.executable, "-c", READER, *files], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_a_keras_file_that_is_missing_broken_or_another_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"There is no file .*none\.keras"):
        flowzoo.from_pretrained(tmp_path / "none.keras")
    (tmp_path / "broken.keras").write_text("no zip")
    with pytest.raises(ValueError, match=r"broken\.keras cannot be loaded"):
        flowzoo.from_pretrained(tmp_path / "broken.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match=r"dense\.keras holds a Sequential, not a flow"):
        flowzoo.from_pretrained(tmp_path / "dense.keras")


# -- damage ----------------------------------------------------------------------------------
def test_flipped_bytes_in_the_weights_are_found(directory):
    path = directory / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is damaged: its sha256"):
        flowzoo.from_pretrained(directory)


def test_missing_weights_are_named(directory):
    (directory / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is missing; the preset is incomplete"):
        flowzoo.from_pretrained(directory)


def test_a_missing_config_is_named(directory):
    (directory / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is not a preset: it has no config\.json"):
        flowzoo.from_pretrained(directory)


def test_a_config_that_is_not_json_is_named(directory):
    (directory / "config.json").write_text('{"format": 1, ')
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON.*damaged"):
        flowzoo.from_pretrained(directory)


def test_a_config_that_lacks_a_key_is_named(directory):
    content = json.loads((directory / "config.json").read_text())
    del content["options"]
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config\.json lacks options; the file is damaged"):
        flowzoo.from_pretrained(directory)


def test_a_newer_format_asks_for_a_newer_flowzoo(directory):
    edit(directory / "config.json", format=2)
    with pytest.raises(ValueError, match=r"has format 2, but this flowzoo .* reads up to 1. Upgrade flowzoo"):
        flowzoo.from_pretrained(directory)


def test_weights_of_another_architecture_are_named(directory):
    config = directory / "config.json"
    options = json.loads(config.read_text())["options"]
    edit(config, options={**options, "hidden_units": [5]})
    with pytest.raises(ValueError, match=r"model\.weights\.h5 does not fit .*config\.json"):
        flowzoo.from_pretrained(directory)


def test_a_config_that_does_not_describe_a_flow_is_named(directory):
    options = json.loads((directory / "config.json").read_text())["options"]
    edit(directory / "config.json", options={**options, "hidden_units": "wide"})
    with pytest.raises(ValueError, match=r"config\.json does not describe a flow"):
        flowzoo.from_pretrained(directory)
    edit(directory / "config.json", architecture="../../evil")
    with pytest.raises(ValueError, match=r"config\.json does not describe a flow: Unknown model"):
        flowzoo.from_pretrained(directory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {"class_name": "os.system"}}, "architecture must be a name"),
        ({"format": "1"}, "has format '1', which is not a number"),
        ({"options": ["steps"]}, "options a mapping"),
    ],
)
def test_a_config_of_wrong_types_is_named(directory, changes, message):
    edit(directory / "config.json", **changes)
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        flowzoo.from_pretrained(directory)


# -- malice ----------------------------------------------------------------------------------
LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}},
    "registered_name": None,
}


@pytest.mark.parametrize(
    ("stranger", "shown"),
    [
        (LAMBDA, r"keras\.layers\.Lambda"),
        ({"module": "subprocess", "class_name": "Popen", "config": {"args": ["id"]}}, r"subprocess\.Popen"),
        ({"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}, r"keras\.layers\.Dense"),
        ({"class_name": "Popen", "registered_name": "flowzoo>Popen"}, "Popen"),
        ({"class_name": "__lambda__", "config": {"code": ""}}, "__lambda__"),
        (
            {
                "module": "flowzoo.bases.mixture",
                "class_name": "Mixture",
                "registered_name": "flowzoo>Mixture",
                "config": {"components": LAMBDA},
            },
            r"keras\.layers\.Lambda",
        ),
    ],
)
def test_a_config_that_names_foreign_classes_is_refused(directory, stranger, shown):
    options = json.loads((directory / "config.json").read_text())["options"]
    edit(directory / "config.json", options={**options, "base": stranger})
    with pytest.raises(ValueError, match=rf"config\.json names {shown}, which is not part of flowzoo"):
        flowzoo.from_pretrained(directory)


def test_a_base_of_flowzoos_own_is_loaded(tmp_path):
    base = bases.Mixture(components=3)
    flow = flowzoo.create_model("realnvp", (2,), base=base, **SMALL)
    flow.save_to_preset(tmp_path / "preset")
    assert flowzoo.from_pretrained(tmp_path / "preset").base.get_config()["components"] == 3


def restamp(directory):
    digest = files.sha256(directory / "model.weights.h5")
    edit(directory / "metadata.json", weights_sha256=digest)


class Trap:
    def __reduce__(self):
        return open, (str(Trap.sprung), "w")


def test_a_pickle_instead_of_the_weights_is_not_read(directory, tmp_path):
    Trap.sprung = tmp_path / "sprung"
    (directory / "model.weights.h5").write_bytes(pickle.dumps(Trap()))
    restamp(directory)
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is not a readable HDF5 file"):
        flowzoo.from_pretrained(directory)
    assert not Trap.sprung.exists()


def test_weights_that_point_into_another_file_are_refused(directory, tmp_path):
    path = directory / "model.weights.h5"
    found = []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        data = file[found[-1]][()]
        del file[found[-1]]
        file[found[-1]] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = data
    restamp(directory)
    with pytest.raises(ValueError, match=r"model\.weights\.h5 does not fit"):
        flowzoo.from_pretrained(directory)


def test_a_keras_file_with_a_lambda_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match=r"lambda\.keras cannot be loaded"):
        flowzoo.from_pretrained(tmp_path / "lambda.keras")


def test_metadata_may_be_missing(directory):
    (directory / "metadata.json").unlink()
    assert flowzoo.from_pretrained(directory).architecture == "realnvp"


# -- the bundled ones --------------------------------------------------------------------------
@pytest.fixture
def bundle(flow, tmp_path, monkeypatch):
    """Replaces the bundled presets with a single one."""
    flow.save_to_preset(tmp_path / "zoo" / "realnvp_toy")
    index = {"format": 1, "presets": [describe_preset(tmp_path / "zoo" / "realnvp_toy")]}
    (tmp_path / "zoo" / "index.json").write_text(json.dumps(index))
    monkeypatch.setattr(presets, "pretrained_directory", lambda: tmp_path / "zoo")
    return tmp_path / "zoo"


def test_bundled_presets_are_listed_found_and_loaded_by_name(bundle):
    assert flowzoo.list_models(pretrained=True) == ["realnvp_toy"]
    assert flowzoo.list_models("glow*", pretrained=True) == []
    assert flowzoo.model_info("realnvp").pretrained == ("realnvp_toy",)
    assert flowzoo.from_pretrained("realnvp_toy").event_shape == (2,)


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_bundled_preset_that_was_changed_is_refused(bundle, name):
    path = bundle / "realnvp_toy" / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(ValueError, match=rf"{name} is damaged: its sha256 is not the one in index\.json"):
        flowzoo.from_pretrained("realnvp_toy")
    path.unlink()
    with pytest.raises(ValueError, match=rf"{name}|There is no preset"):
        flowzoo.from_pretrained("realnvp_toy")


def test_an_unknown_preset_gets_suggestions(bundle):
    with pytest.raises(ValueError, match=r"no preset 'realnvp_toi'.*Did you mean 'realnvp_toy'"):
        flowzoo.from_pretrained("realnvp_toi")


def test_without_bundled_presets_the_message_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "pretrained_directory", lambda: tmp_path)
    with pytest.raises(ValueError, match="No presets are bundled"):
        flowzoo.from_pretrained("glow_mnist")


@pytest.mark.parametrize("name", flowzoo.list_models(pretrained=True))
def test_every_bundled_preset_is_whole(name):
    flow = flowzoo.from_pretrained(name)
    assert flow.count_params() == presets.preset_metadata(name)["parameters"]


@pytest.mark.slow
def test_a_pretrained_flow_learns_other_rows_in_fewer_steps():
    """Rotated, scaled and shifted two moons: 20 epochs from the preset and from scratch."""
    turn = 1.05 * np.array([[0.995, 0.1], [-0.1, 0.995]])
    train, test = (toy.sample("two_moons", 4000, seed=seed)[0] @ turn + 0.05 for seed in (5, 6))

    def nats_after_each_epoch(flow):
        history = flow.fit(train, batch_size=256, epochs=20, validation_data=(test,), verbose=0)
        return np.array(history.history["val_nll"])

    tuned = flowzoo.from_pretrained("nsf_two_moons")
    from_preset = nats_after_each_epoch(tuned)
    from_scratch = nats_after_each_epoch(flowzoo.create_model("nsf", (2,), **tuned.options))
    # The same nats in half as many steps, and not fewer nats in the end.
    assert from_preset[:10].min() < from_scratch.min()


# -- damaged and hostile presets ---------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"event_shape": [2147483648]},
        {"options": {"steps": 100_000}},
        {"options": {"hidden_units": [1_000_000, 1_000_000]}},
        {"options": {"hidden_units": [8192]}},
    ],
    ids=str,
)
def test_a_configuration_of_a_huge_flow_is_refused_before_it_is_built(directory, changes, monkeypatch):
    monkeypatch.setattr("flowzoo.models._pretrained.build_preset", lambda _: pytest.fail("built"))
    edit(directory / "config.json", **changes)
    with pytest.raises(ValueError, match=r"is damaged: its configuration has .* holds [\d,]+ numbers"):
        flowzoo.from_pretrained(directory)


def test_weights_that_inflate_are_refused(directory):
    with h5py.File(directory / "model.weights.h5", "a") as file:
        file.create_dataset("bomb", shape=(2**27,), dtype="float32", compression="gzip", fillvalue=0.0)
    restamp(directory)
    with pytest.raises(ValueError, match=r"damaged: bomb takes [\d,]+ bytes and inflates to 536,870,912"):
        flowzoo.from_pretrained(directory)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(flow, tmp_path, value):
    weight = flow.transforms[0].shift
    weight.assign([value, 0.0])
    flow.save_to_preset(tmp_path / "preset")
    flow.save(tmp_path / "flow.keras")
    for path in (tmp_path / "preset", tmp_path / "flow.keras"):
        with pytest.raises(ValueError, match="holds NaN or infinity in 1 weights"):
            flowzoo.from_pretrained(path)


@pytest.mark.parametrize("content", ["[1]", "3", "null", '"x"', "[" * 5000])
def test_metadata_that_are_not_a_mapping_are_named(directory, content):
    (directory / "metadata.json").write_text(content)
    with pytest.raises(ValueError, match=r"metadata\.json"):
        flowzoo.from_pretrained(directory)


@pytest.mark.slow
def test_a_preset_with_a_flipped_byte_is_right_or_a_value_error(flow, directory, rng, tmp_path):
    """Two hundred damaged presets: none ends in anything but a right answer or a message of ours."""
    x, context = rng.normal(5, 3, (4, 2)), rng.normal(size=(4, 3))
    expected = flow.log_prob(x, context).numpy()
    for trial in range(200):
        damaged = tmp_path / f"damaged{trial}"
        shutil.copytree(directory, damaged)
        name = ("config.json", "metadata.json", "model.weights.h5")[trial % 3]
        content = bytearray((damaged / name).read_bytes())
        for place in rng.integers(0, len(content), 1 + trial % 4):
            content[place] ^= 1 << int(rng.integers(8))
        (damaged / name).write_bytes(content[: len(content) - (trial % 5 == 0) * 30])
        if trial % 2 and name == "model.weights.h5":
            restamp(damaged)
        try:
            loaded = flowzoo.from_pretrained(damaged)
        except (ValueError, OSError):
            continue
        loaded.use_xla = False
        assert np.isfinite(loaded.log_prob(x, context)).all() or name == "model.weights.h5"
        if name != "model.weights.h5":
            np.testing.assert_allclose(loaded.log_prob(x, context), expected, rtol=1e-4, err_msg=name)
