import importlib
import sys
from importlib.metadata import EntryPoint

import pytest

import flowzoo
from flowzoo import layers
from flowzoo.models import _registry as registry


@pytest.fixture
def registered():
    """Registers `shift_only`, and unregisters it afterwards."""

    @flowzoo.register_model("shift_only", paper="Nobody: Nothing (2000)", url="https://x.org")
    def shift_only(event_shape, context_shape=None, *, scale: bool = True, depth: int = 1):
        """One ActNorm a depth.

        Only the first line is the summary.
        """
        return [layers.ActNorm() for _ in range(depth)]

    yield shift_only
    registry.unregister_model("shift_only")


def test_our_own_models_are_listed_in_alphabetical_order():
    names = flowzoo.list_models()
    assert "realnvp" in names
    assert names == sorted(names)


def test_patterns_are_shell_patterns():
    assert flowzoo.list_models("real*") == ["realnvp"]
    assert flowzoo.list_models("nothing*") == []


def test_info_is_read_from_the_function(registered):
    info = flowzoo.model_info("shift_only")
    assert info.summary == "One ActNorm a depth."
    assert info.options == {"scale": True, "depth": 1}
    assert (info.paper, info.url, info.events) == ("Nobody: Nothing (2000)", "https://x.org", ("vector",))
    assert info.pretrained == ()


@pytest.mark.parametrize("name", flowzoo.list_models())
def test_every_model_has_a_description(name):
    info = flowzoo.model_info(name)
    assert info.summary.endswith(".")
    assert info.paper
    assert info.events
    assert set(info.events) <= {"vector", "image"}


def test_a_registered_model_is_listed_and_built(registered):
    assert "shift_only" in flowzoo.list_models()
    flow = flowzoo.create_model("shift_only", (3,), depth=2)
    assert len(flow.transforms) == 2
    assert flow.architecture == "shift_only"


def test_options_are_written_down_with_their_defaults(registered):
    options = flowzoo.create_model("shift_only", (3,), depth=2).options
    assert options["depth"] == 2
    assert options["scale"] is True
    assert options["preprocessing"] == "auto"


def test_an_unknown_name_gets_suggestions(registered):
    with pytest.raises(ValueError, match=r"Unknown model 'realnpv'. Did you mean 'realnvp'"):
        flowzoo.create_model("realnpv", (3,))
    with pytest.raises(ValueError, match=r"Unknown model 'zzzz'\. Known names: .*realnvp"):
        flowzoo.model_info("zzzz")


def test_an_unknown_option_gets_suggestions_and_the_list(registered):
    with pytest.raises(ValueError, match=r"no option 'dept'\. Did you mean 'depth'\?.*scale, depth"):
        flowzoo.create_model("shift_only", (3,), dept=2)


def test_a_model_without_options_says_so():
    flowzoo.register_model("bare", paper="none")(lambda event_shape, context_shape=None: [layers.ActNorm()])
    try:
        with pytest.raises(ValueError, match="bare has no options of its own; got 'width'"):
            flowzoo.create_model("bare", (3,), width=2)
    finally:
        registry.unregister_model("bare")


def test_events_that_a_model_does_not_take_are_refused(registered):
    with pytest.raises(
        ValueError, match=r"shift_only takes events of shape \(D,\); got event_shape=\(4, 4, 1\)"
    ):
        flowzoo.create_model("shift_only", (4, 4, 1))


def test_a_name_that_is_taken_is_refused(registered):
    def other(event_shape, context_shape=None):
        """Another."""

    with pytest.raises(ValueError, match=r"'shift_only' is taken by .*shift_only; choose another"):
        flowzoo.register_model("shift_only", paper="none")(other)
    assert flowzoo.model_info("shift_only").summary == "One ActNorm a depth."


def test_a_function_of_the_same_name_in_another_module_is_another(registered):
    def impostor(event_shape, context_shape=None):
        """Another."""

    impostor.__qualname__, impostor.__module__ = registered.__qualname__, "somewhere.else"
    with pytest.raises(ValueError, match="is taken by"):
        flowzoo.register_model("shift_only", paper="none")(impostor)


def test_registering_the_same_function_again_is_fine(registered):
    flowzoo.register_model("shift_only", paper="new")(registered)
    assert flowzoo.model_info("shift_only").paper == "new"


# -- third parties ---------------------------------------------------------------------------
PLUGIN = '''
import flowzoo

@flowzoo.register_model("thirdparty_flow", paper="Somebody: Something (2001)")
def thirdparty_flow(event_shape, context_shape=None, *, width: int = 3):
    """A flow from elsewhere."""
    return [flowzoo.layers.ActNorm(), flowzoo.layers.Permute()]
'''


def install(directory, monkeypatch, code, name="thirdparty_flow", module="thirdparty_flows"):
    """Writes a package with metadata, as pip would, and puts it on the path."""
    (directory / f"{module}.py").write_text(code)
    info = directory / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[flowzoo.models]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(directory))
    importlib.invalidate_caches()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, PLUGIN)
    yield
    registry._ENTRIES.pop("thirdparty_flow", None)
    sys.modules.pop("thirdparty_flows", None)


def test_a_third_partys_model_is_listed_without_importing_it(plugin):
    assert "thirdparty_flow" in flowzoo.list_models()
    assert "thirdparty_flows" not in sys.modules


def test_a_third_partys_model_is_described_and_built(plugin):
    info = flowzoo.model_info("thirdparty_flow")
    assert (info.summary, info.options) == ("A flow from elsewhere.", {"width": 3})
    flow = flowzoo.create_model("thirdparty_flow", (2,))
    assert flow.sample(3).shape == (3, 2)


def test_a_third_partys_model_is_saved_as_a_preset(plugin, tmp_path):
    flow = flowzoo.create_model("thirdparty_flow", (2,), width=5)
    flow.save_to_preset(tmp_path / "preset")
    assert flowzoo.from_pretrained(tmp_path / "preset").options["width"] == 5


def test_a_third_partys_broken_module_is_named(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "import nothing_of_that_name", module="broken_flows")
    with pytest.raises(ValueError, match="'thirdparty_flow' of broken_flows cannot be imported: No module"):
        flowzoo.create_model("thirdparty_flow", (2,))
    assert "realnvp" in flowzoo.list_models()


def test_a_third_partys_module_that_registers_nothing_is_named(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "", module="empty_flows")
    with pytest.raises(ValueError, match=r"empty_flows was imported .* does not register that name"):
        flowzoo.create_model("thirdparty_flow", (2,))


def test_our_own_name_wins_over_a_third_partys(monkeypatch):
    point = EntryPoint("realnvp", "nothing_of_that_name", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: (point,))
    assert flowzoo.list_models().count("realnvp") == 1
    assert flowzoo.model_info("realnvp").summary.startswith("Affine couplings")


# -- options of one kind of event --------------------------------------------------------------
def test_options_that_an_event_does_not_use_are_refused_with_those_that_it_does():
    with pytest.raises(
        ValueError, match=r"realnvp does not use 'channels' for vectors.* uses: steps, hidden_units"
    ):
        flowzoo.create_model("realnvp", (8,), channels=512)
    with pytest.raises(ValueError, match=r"nice does not use 'steps' for images.* uses: levels, channels"):
        flowzoo.create_model("nice", (8, 8, 1), steps=3)
    assert "channels" not in flowzoo.create_model("realnvp", (2,), steps=1).options
    assert set(flowzoo.model_info("glow").options_for("image")) >= {"levels", "channels", "steps"}


def test_a_declared_option_must_exist():
    with pytest.raises(ValueError, match="wrong declares 'widht' for one kind of event"):

        @flowzoo.register_model("wrong", paper="none", vector_options=["widht"])
        def wrong(event_shape, context_shape=None, *, width=3):
            """Nothing."""


@pytest.mark.parametrize("name", ["realnvp", "nice", "glow", "maf", "iaf", "nsf", "planar", "radial"])
def test_depth_and_conditioners_have_one_spelling(name):
    options = flowzoo.model_info(name).options
    assert "steps" in options
    assert "hidden_units" in options
    assert not {"couplings", "layers", "depth"} & set(options)


def test_older_spellings_of_residual_networks_give_the_same_network():
    with pytest.warns(DeprecationWarning, match="blocks=2"):
        old = flowzoo.create_model("nsf", (4,), blocks=2, hidden_units=(8,), steps=1)
    new = flowzoo.create_model("nsf", (4,), residual=True, hidden_units=(8,) * 5, steps=1)
    assert [w.shape for w in old.weights] == [w.shape for w in new.weights]
