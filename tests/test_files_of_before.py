"""Files that flowzoo 0.1 wrote, before its options and modules were renamed, still load."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import flowzoo
from flowzoo.models._factory import build_preset
from flowzoo.storage import presets

BEFORE = Path(__file__).parent / "files" / "v0_1"
NAMES = sorted(path.stem for path in BEFORE.glob("*.keras"))
DENSITIES = np.load(BEFORE / "densities.npz")
BUNDLED = np.load(BEFORE / "presets.npz")


def in_float64(flow):
    """The flow with the same weights in float64, in which the numbers of these files are."""
    config = {"architecture": flow.architecture, "dtype": "float64", "options": flow.options}
    twin = build_preset({**config, "event_shape": flow.event_shape, "context_shape": flow.context_shape})
    twin.set_weights(flow.get_weights())
    twin.use_xla = False
    return twin


def check(flow, name):
    twin, context = in_float64(flow), DENSITIES.get(f"{name}_context")
    log_prob = twin.log_prob(DENSITIES[f"{name}_x"], context)
    np.testing.assert_allclose(log_prob, DENSITIES[f"{name}_log_prob"], rtol=1e-6, atol=1e-6)
    samples = twin.sample(8, context, seed=5)
    np.testing.assert_allclose(samples, DENSITIES[f"{name}_sample"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_keras_file_loads_with_its_densities_samples_and_compiled_state(name):
    flow = flowzoo.from_pretrained(BEFORE / f"{name}.keras")
    check(flow, name)
    assert flow.compiled
    assert int(flow.optimizer.iterations) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_and_is_written_again_with_todays_options(name, tmp_path, recwarn):
    shutil.copytree(BEFORE / "presets" / name, tmp_path / "old")
    flow = flowzoo.from_pretrained(tmp_path / "old")
    check(flow, name)
    flow.save_to_preset(tmp_path / "new")
    again = flowzoo.from_pretrained(tmp_path / "new")
    assert again.options == flow.options
    assert "couplings" not in flow.options
    assert not [warning for warning in recwarn if "spelling" in str(warning.message)]


@pytest.mark.parametrize("name", presets.list_presets())
def test_a_bundled_preset_has_the_densities_that_it_had(name):
    if f"{name}_x" not in BUNDLED:
        pytest.skip("The preset is newer than these files.")
    flow = flowzoo.from_pretrained(name)
    context = None if flow.context_shape is None else np.eye(flow.context_shape[0], dtype="float32")[:4]
    log_prob = in_float64(flow).log_prob(BUNDLED[f"{name}_x"], context)
    np.testing.assert_allclose(log_prob, BUNDLED[f"{name}_log_prob"], rtol=1e-6, atol=1e-6)


def test_the_renamed_option_still_works_with_a_warning():
    with pytest.warns(
        DeprecationWarning, match="couplings=3 is the spelling of an earlier version; write steps=3"
    ):
        flow = flowzoo.create_model("realnvp", (3,), couplings=3, hidden_units=(4,))
    assert flow.options["steps"] == 3
