"""Runs the checks of `flowzoo.testing` on all registered models."""

import pytest

import flowzoo
from flowzoo import testing

# A new architecture needs a line only if `testing.small_options` does not suit it.
OPTIONS: dict[str, dict] = {}
# Checked in addition to the registered models: options that make another kind of flow.
VARIANTS = {"glow-spline": ("glow", {"coupling": "spline"}), "nsf-ar": ("nsf", {"autoregressive": True})}
EVENTS = {"vector": (3,), "image": (4, 4, 1)}
# These treat an image as a vector.
FLATTENING = ("iaf", "maf", "nsf", "nsf-ar")


def options_of(walked, event=(3,)):
    name, options = VARIANTS.get(walked, (walked, OPTIONS.get(walked, {})))
    return name, {**testing.small_options(name, event), **options}


def events_of(walked):
    name, _ = VARIANTS.get(walked, (walked, {}))
    return flowzoo.model_info(name).events


def cases(events):
    return [
        pytest.param(name, event, context, id=f"{name}-{kind}{'-context' if context else ''}")
        for name in [*flowzoo.list_models(), *VARIANTS]
        for kind, event in events.items()
        if kind in events_of(name)
        for context in (None, (3,))
        if not (kind == "image" and name in FLATTENING and context)
    ]


def marks_of(check, name, event, context):
    """Conditional images are slow to trace, and ONNX is slow to export."""
    dear = (testing.check_runtimes, testing.check_saving, testing.check_saved_model)
    if check is testing.check_onnx:
        quick = name in ("realnvp", "maf", "planar") and context is None and len(event) == 1
        return [] if quick else [pytest.mark.slow]
    return [pytest.mark.slow] if check in dear and len(event) == 3 and (context or name in FLATTENING) else []


def walked_elsewhere(check, name, event, context):
    """tests/conversation/test_architectures.py exports and serves every architecture, without context.

    The variants are exported with a context only.
    """
    if check not in (testing.check_onnx, testing.check_saved_model):
        return False
    if name in FLATTENING and len(event) == 3:
        return name != "maf"
    quick = not marks_of(check, name, event, context)
    return not context and (check is testing.check_saved_model or not quick)


# Flows are expensive to build and the checks do not change them, so each is made once.
@pytest.fixture(scope="module")
def made():
    flows = {}

    def make(dtype, walked, event, context):
        key = (dtype, walked, event, context)
        if key not in flows:
            name, options = options_of(walked, event)
            flows[key] = testing.make_flow(name, event, context, dtype=dtype, **options)
        return flows[key]

    return make


@pytest.mark.parametrize(("name", "event", "context"), cases(EVENTS))
def test_a_new_flow_is_near_the_identity(name, event, context):
    name, options = options_of(name, event)
    testing.check_near_identity(testing.make_new_flow(name, event, context, **options))


@pytest.mark.parametrize("check", testing.FLOAT64_CHECKS)
@pytest.mark.parametrize(("name", "event", "context"), cases(EVENTS))
def test_float64(made, check, name, event, context):
    check(made("float64", name, event, context))


@pytest.mark.parametrize(
    ("check", "name", "event", "context"),
    [
        pytest.param(
            check, *case.values, id=f"{case.id}-{check.__name__}", marks=marks_of(check, *case.values)
        )
        for case in cases(EVENTS)
        for check in testing.FLOAT32_CHECKS
        if not walked_elsewhere(check, *case.values)
    ],
)
def test_float32(made, check, name, event, context):
    check(made("float32", name, event, context))


@pytest.mark.parametrize("check", testing.DENSITY_CHECKS)
@pytest.mark.parametrize(("name", "event", "context"), cases({"vector": (2,)}))
def test_density(made, check, name, event, context):
    check(made("float64", name, event, context))
