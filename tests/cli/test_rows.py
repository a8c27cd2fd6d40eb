"""DATA as rows and contexts for a flow."""

import numpy as np
import pytest

import flowzoo
from flowzoo.cli.rows import Request


@pytest.fixture(scope="module")
def conditional():
    return flowzoo.create_model("realnvp", (2,), (2,), steps=2, hidden_units=(8,))


def test_contexts_from_columns(conditional, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c,d\n1,2,3,4\n5,,7,8\n")
    request = Request(str(path), "all", None, ["c", "a"])
    ((x, context),) = request.chunks(conditional)
    np.testing.assert_array_equal(x, [[2, 4], [np.nan, 8]])
    np.testing.assert_array_equal(context, [[3, 1], [7, 5]])
    ((x, context),) = request.dataset(conditional, 10, "drop").as_numpy_iterator()
    np.testing.assert_array_equal(x, [[2, 4]])
    np.testing.assert_array_equal(context, [[3, 1]])


def test_contexts_from_labels(conditional):
    request = Request("two_moons", "test[:10]")
    ((x, context),) = request.chunks(conditional)
    assert x.shape == (10, 2)
    np.testing.assert_array_equal(np.sum(context, axis=1), np.ones(10))
    ((same_x, same_context),) = request.dataset(conditional, 10).as_numpy_iterator()
    np.testing.assert_array_equal(same_x, x)
    np.testing.assert_array_equal(same_context, context)


def test_contexts_from_the_labels_of_a_file_of_images(tmp_path):
    flow = flowzoo.create_model("glow", (2, 2, 1), (3,), levels=1, steps=1, channels=4)
    path = tmp_path / "images.npz"
    images = np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1)
    np.savez(path, X=images, y=[0, 2, 1, 2])
    request = Request(str(path), "all")
    ((x, context),) = request.chunks(flow)
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(context, np.eye(3)[[0, 2, 1, 2]])
    ((same_x, same_context),) = request.dataset(flow, 10).as_numpy_iterator()
    np.testing.assert_array_equal(same_x, images)
    np.testing.assert_array_equal(same_context, context)
    np.savez(path, X=images, y=[0, 3, 1, 2])
    for read in (request.chunks, lambda flow: request.dataset(flow, 10)):
        with pytest.raises(ValueError, match=r"the label 3; the flow's contexts have 3 entries.*0 to 2"):
            list(read(flow))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("rings", "test"), "has 4 classes"),
        (Request("rows.npy", "all"), "name the columns of the context"),
        (Request("rows.npy", "all", None, ["0"]), r"rows of shape \(4,\); rows.npy has rows of shape \(5,\)"),
    ],
)
def test_contexts_that_do_not_fit(conditional, request_, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match=message):
        list(request_.chunks(conditional))


def test_a_flow_without_context_takes_none(tmp_path):
    flow = flowzoo.create_model("realnvp", (2,), steps=1, hidden_units=(8,))
    np.save(tmp_path / "rows.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="takes no context"):
        list(Request(str(tmp_path / "rows.npy"), "all", None, ["2"]).chunks(flow))
