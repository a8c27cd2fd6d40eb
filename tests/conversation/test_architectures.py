"""Keras, REST, gRPC and onnxruntime give the same numbers for every architecture."""

import numpy as np
import onnxruntime
import pytest

import flowzoo
from flowzoo import testing

ROWS = 5
EVENTS = {"vector": (3,), "image": (4, 4, 1)}
# Not marked slow: both exports of all the architectures take minutes.
QUICK = {("realnvp", "vector")}
# These treat an image as a vector.
FLATTENING = ("iaf", "maf", "nsf")
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}", marks=[] if (name, kind) in QUICK else [pytest.mark.slow])
    for name in flowzoo.list_models()
    for kind in EVENTS
    if kind in flowzoo.model_info(name).events and not (kind == "image" and name in FLATTENING)
]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A small flow and the folder of its SavedModel and ONNX exports; each is made once."""
    made = {}

    def ship(name, kind):
        if (name, kind) not in made:
            options = testing.small_options(name, EVENTS[kind])
            flow = testing.make_flow(name, EVENTS[kind], dtype="float32", **options)
            flow.use_xla = False
            folder = tmp_path_factory.mktemp(f"{name}_{kind}")
            flow.export(folder / "zoo" / "flow")
            flow.export(folder / "onnx", format="onnx")
            made[name, kind] = flow, folder
        return made[name, kind]

    return ship


def test_all_registered_architectures_are_covered():
    assert {case.values[0] for case in CASES} == set(flowzoo.list_models())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_seed_gives_the_same_numbers_everywhere(start, shipped, name, kind):
    flow, folder = shipped(name, kind)
    x = testing.raw_rows(flow, ROWS).astype(flow.input_dtype)
    seed, temperature = flowzoo.random.row_seeds(11, ROWS), np.full(ROWS, 0.8, "f")
    z = flow.encode(x).numpy()
    keras = {
        "sample": flow.sample(ROWS, seed=11, temperature=0.8).numpy(),
        "log_prob": flow.log_prob(x).numpy(),
        "encode": z,
        "decode": flow.decode(z).numpy(),
    }
    answers = {"onnxruntime": onnx_answers(folder, x=x, z=z, seed=seed, temperature=temperature)}
    with start(folder / "zoo") as served:
        for transport in ("http", "grpc"):
            with served.client("flow", transport) as client:
                answers[transport] = {
                    "sample": client.sample(ROWS, seed=11, temperature=0.8),
                    "log_prob": client.log_prob(x),
                    "encode": client.encode(x),
                    "decode": client.decode(z),
                }
    for where, answered in answers.items():
        for what, wanted in keras.items():
            scale = max(1.0, np.abs(wanted).max())
            np.testing.assert_allclose(
                answered[what], wanted, rtol=0, atol=1e-4 * scale, err_msg=f"{name}: {what}, {where}"
            )


def onnx_answers(folder, **inputs):
    """Outputs of the four graphs."""
    answers = {}
    for name in ("sample", "log_prob", "encode", "decode"):
        session = onnxruntime.InferenceSession(folder / "onnx" / f"{name}.onnx")
        (answers[name],) = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    return answers
