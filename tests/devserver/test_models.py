"""Loading, replacing and releasing versions."""

import gc
import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from flowzoo.devserver.models import Model, Models, read_tensors

X = np.array([[1.0, 2.0]], np.float32)
TOY = ModelConfig(name="toy")


def answer(model):
    return model.find().run("", {"x": X})["y"].tolist()


def test_the_newest_version_answers(write, tmp_path):
    for version in (2, 10, 9):
        write(tmp_path, version, version)
    (tmp_path / "notes").mkdir()
    (tmp_path / "11").touch()
    model = Model(TOY, tmp_path)
    assert model.find().number == 10
    assert answer(model) == [[10, 20]]
    assert not model.refresh()
    write(tmp_path, 12, 12.0)
    assert model.refresh()
    assert answer(model) == [[12, 24]]
    assert {n: s.state for n, s in model.status().items()} == {10: "END", 12: "AVAILABLE"}


def test_when_the_newest_is_removed_the_previous_one_serves(write, tmp_path):
    write(tmp_path, 1, 1.0)
    write(tmp_path, 2, 2.0)
    model = Model(TOY, tmp_path)
    shutil.rmtree(tmp_path / "2")
    assert model.refresh()
    assert answer(model) == [[1, 2]]
    shutil.rmtree(tmp_path / "1")
    assert not model.refresh()
    assert answer(model) == [[1, 2]]


def test_a_broken_version_is_tried_again_when_it_changes(write, tmp_path):
    write(tmp_path, 1, 1.0)
    model = Model(TOY, tmp_path)
    (tmp_path / "2").mkdir()
    assert not model.refresh()
    status = model.status(2)[2]
    assert status.state == "END"
    assert status.code != 0
    assert status.message
    assert answer(model) == [[1, 2]]
    assert not model.refresh()
    whole = write(tmp_path, 3, 3.0)
    shutil.rmtree(tmp_path / "2")
    whole.rename(tmp_path / "2")
    assert model.refresh()
    assert answer(model) == [[3, 6]]


def test_a_model_without_a_loadable_version_is_refused(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match=r"No version in .* can be loaded\. 1: "):
        Model(TOY, tmp_path)


def test_the_old_session_is_released_with_its_last_request(write, tmp_path):
    write(tmp_path, 1)
    model = Model(TOY, tmp_path)
    request = model.find()
    old = weakref.ref(request)
    write(tmp_path, 2)
    assert model.refresh()
    assert request.run("", {"x": X})["y"].tolist() == [[1, 2]]
    del request
    gc.collect()
    assert old() is None


def warm_up(version, x, dtype=np.float32):
    request = PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.asarray(x, dtype)))
    log = PredictionLog()
    log.predict_log.request.CopyFrom(request)
    (version / "assets.extra").mkdir()
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def test_warm_up_requests_run_before_a_version_serves(write, tmp_path):
    warm_up(write(tmp_path, 1, 1.0), [[1, 2]])
    model = Model(TOY, tmp_path)
    assert model.find().number == 1
    (tmp_path / "elsewhere").mkdir()
    failing = write(tmp_path / "elsewhere", 2, 2.0)
    warm_up(failing, [[1, 2]], np.float64)
    failing.rename(tmp_path / "2")
    assert not model.refresh()
    assert "double" in model.status(2)[2].message


def test_outputs_may_be_chosen(write, tmp_path):
    write(tmp_path, 1)
    version = Model(TOY, tmp_path).find()
    assert list(version.run("", {"x": X}, ["y"])) == ["y"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="alias not found in signature: z"):
        version.run("", {"x": X}, ["z"])
    with pytest.raises(tf.errors.InternalError, match="Expected prediction signature"):
        version.run("__saved_model_init_op", {})


def test_one_model_or_a_folder_of_models(write, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert [model.name for model in Models(tmp_path)] == ["one", "two"]
    assert [model.name for model in Models(tmp_path / "one")] == ["one"]


def configure(path, *models):
    """Writes a models.config from pairs: a model's name and the rest of its config."""
    blocks = [f'config {{ name: "{name}" base_path: "gs://bucket/{name}" {rest} }}' for name, rest in models]
    path.write_text(f"model_config_list {{ {' '.join(blocks)} }}")


def named(*versions):
    return f"model_version_policy {{ specific {{ versions: {list(versions)} }} }}"


def label(name, version):
    return f' version_labels {{ key: "{name}" value: {version} }}'


def versions_of(models, name="toy"):
    return {number for number, status in models.status(name).items() if status.state == "AVAILABLE"}


@pytest.fixture
def zoo(write, tmp_path):
    """A folder with three versions each of the models toy and other, and the path of a models.config."""
    for name in ("toy", "other"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for version in (1, 2, 3):
            write(tmp_path / "zoo" / name, version, float(version))
    return tmp_path / "zoo", tmp_path / "models.config"


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", {3}),
        ("model_version_policy { latest { num_versions: 2 } }", {2, 3}),
        ("model_version_policy { all {} }", {1, 2, 3}),
        (named(1, 3), {1, 3}),
    ],
)
def test_version_policies(zoo, policy, wanted):
    folder, config = zoo
    configure(config, ("toy", policy))
    models = Models(folder, config)
    assert [model.name for model in models] == ["toy"]
    assert versions_of(models) == wanted
    assert models.find("toy").number == 3
    assert {models.find("toy", number).number for number in wanted} == wanted
    with pytest.raises(tf.errors.NotFoundError, match="other"):
        models.find("other")


def test_labels(zoo):
    folder, config = zoo
    configure(config, ("toy", named(1, 2) + label("stable", 1) + label("canary", 2)))
    models = Models(folder, config)
    assert models.find("toy").number == 2
    assert models.find("toy", label="stable").number == 1
    assert models.find("toy", label="canary").number == 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unrecognized servable version label: new"):
        models.find("toy", label="new")
    configure(config, ("toy", named(2) + label("stable", 2)), ("other", ""))
    models.refresh()
    assert models.find("toy", label="stable").number == 2
    assert models.find("other").number == 3
    assert versions_of(models) == {2}


def test_a_label_moves_to_loaded_versions_only(zoo, caplog):
    folder, config = zoo
    configure(config, ("toy", named(1) + label("stable", 1)))
    models = Models(folder, config)
    configure(config, ("toy", named(1, 2) + label("stable", 2)))
    for _ in range(3):
        models.refresh()
    assert "assign label to version 2 of model toy, which is not currently available" in caplog.text
    assert len(caplog.records) == 1
    assert models.find("toy", label="stable").number == 1
    assert versions_of(models) == {1}, "the file is refused as a whole"
    configure(config, ("toy", named(1, 2) + label("stable", 1)))
    models.refresh()
    assert versions_of(models) == {1, 2}
    configure(config, ("toy", named(1, 2) + label("stable", 2)))
    models.refresh()
    assert models.find("toy", label="stable").number == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list { config { nmae: 1 } }", "not a text proto tensorflow.serving.ModelServerConfig"),
        ("", "no models"),
        (
            'model_config_list { config { name: "a" } config { name: "a" } }',
            "more than one config is named",
        ),
        (
            'model_config_list { config { name: "toy" base_path: "/models/nope" } }',
            "No version in .*nope can be loaded. It holds none of the versions to serve",
        ),
        ("\udcff", "not a text proto"),
    ],
)
def test_a_wrong_configuration(zoo, caplog, text, message):
    folder, config = zoo
    configure(config, ("toy", ""))
    models = Models(folder, config)
    config.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"models.config: {message}"):
        Models(folder, config)
    models.refresh()
    assert "Still serving the previous configuration" in caplog.text
    assert models.find("toy").number == 3
    config.unlink()
    models.refresh()
    assert models.find("toy").number == 3
    with pytest.raises(ValueError, match="There is no file"):
        Models(folder, config)


def test_directories_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"There is no directory .*nope"):
        Models(tmp_path / "nope")
    with pytest.raises(
        ValueError, match=r"holds no model: neither a version .*Write one with: flowzoo export"
    ):
        Models(tmp_path)


@pytest.mark.parametrize("sizes", [[2**40], [2**20, 2**20], [-1], [2, -3]])
def test_tensors_that_claim_impossible_sizes(sizes):
    request = PredictRequest()
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.append(1.0)
    for size in sizes:
        tensor.tensor_shape.dim.add().size = size
    with pytest.raises(tf.errors.InvalidArgumentError, match="Tensor 'x' has an impossible shape"):
        read_tensors(request)
