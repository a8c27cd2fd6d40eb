"""The files of serving/: read as the programs they are for would read them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import promql_parser
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

ROOT = Path(__file__).parents[1]
SERVING = ROOT / "serving"
COMPOSE = yaml.safe_load((SERVING / "docker-compose.yml").read_text())
DASHBOARD = json.loads((SERVING / "grafana" / "flowzoo.json").read_text())
MANIFESTS = {
    f"{document['kind']}/{document['metadata']['name']}": document
    for path in sorted((SERVING / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
}
POD = MANIFESTS["Deployment/flowzoo-serving"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
COMMANDS = {"docker-compose": COMPOSE["services"]["serving"]["command"], "kubernetes": CONTAINER["args"]}

# The flags in tensorflow_serving/model_servers/main.cc of tensorflow/serving, without the experimental ones.
SERVER_FLAGS = {
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_batching",
    "enable_model_warmup",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enable_signature_method_name_check",
    "file_system_poll_wait_seconds",
    "flush_filesystem_caches",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "grpc_socket_path",
    "load_retry_interval_micros",
    "max_num_load_retries",
    "model_base_path",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "monitoring_config_file",
    "num_load_threads",
    "num_request_iterations_for_warmup",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "port",
    "remove_unused_fields_from_bundle_metagraph",
    "rest_api_enable_cors_support",
    "rest_api_num_threads",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "saved_model_tags",
    "ssl_config_file",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_session_parallelism",
    "thread_pool_factory_config_file",
    "use_alts_credentials",
}

# Metric to labels, from the sources of tensorflow/serving and tensorflow/tensorflow. The exporter writes
# /tensorflow/serving/x as :tensorflow:serving:x, and a histogram as x_bucket, x_sum and x_count
# (tensorflow_serving/util/prometheus_exporter.cc).
HISTOGRAMS = {
    # tensorflow_serving/servables/tensorflow/util.cc
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    # tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
    # tensorflow_serving/batching/batching_session.cc, and the templates it takes from batching_util.h
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    ":tensorflow:serving:batching_session:input_batch_size": set(),
    ":tensorflow:serving:batching_session:processed_batch_size": set(),
}
METRICS = {
    **{name + "_bucket": labels | {"le"} for name, labels in HISTOGRAMS.items()},
    **{name + end: labels for name, labels in HISTOGRAMS.items() for end in ("_sum", "_count")},
    # tensorflow_serving/servables/tensorflow/util.cc
    ":tensorflow:serving:request_count": {"model_name", "status"},
    # tensorflow/cc/saved_model/loader.cc
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
}


def config_texts(name):
    """The text of a settings file, of serving/ and of the ConfigMaps."""
    maps = [document["data"] for document in MANIFESTS.values() if document["kind"] == "ConfigMap"]
    (in_map,) = [data[name] for data in maps if name in data]
    return {"serving": (SERVING / name).read_text(), "kubernetes": in_map}


def flags(command):
    """``{"port": "8500", ...}``; every argument must be ``--name=value``."""
    matches = [re.fullmatch(r"--(\w+)=(\S+)", argument) for argument in command]
    assert all(matches), command
    assert len({match[1] for match in matches}) == len(matches), "a flag is given twice"
    return {match[1]: match[2] for match in matches}


# -- settings of the server ------------------------------------------------------------------
@pytest.mark.parametrize("where", ["serving", "kubernetes"])
def test_served_models_are_those_of_the_how_to(where):
    """The server opens no port before all of them are there."""
    text = config_texts("models.config")[where]
    models = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    command = {
        "serving": r"^for name in (.+); do flowzoo export \$name models/\$name",
        "kubernetes": r"^gcloud storage cp -r models/(\w+)/1 gs://BUCKET/models/\1/1$",
    }[where]
    (exported,) = re.findall(command, (SERVING / "README.md").read_text(), re.MULTILINE)
    assert sorted(model.name for model in models) == sorted(exported.split())
    for model in models:
        assert Path(model.base_path).name == model.name
        assert model.model_platform == "tensorflow"
        assert set(model.version_labels) == {"stable", "canary"}
        assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


@pytest.mark.parametrize("where", ["serving", "kubernetes"])
def test_batching_config(where, parse_server_text):
    parameters = parse_server_text("BatchingParameters", config_texts("batching.config")[where])
    named = {field.name for field, _ in parameters.ListFields()}
    # All else is ignored beside --enable_per_model_batching_parameters.
    assert named == {"num_batch_threads", "thread_pool_name"}


@pytest.mark.parametrize("where", ["serving", "kubernetes"])
def test_monitoring_config(where, parse_server_text):
    config = parse_server_text("MonitoringConfig", config_texts("monitoring.config")[where]).prometheus_config
    assert config.enable
    (job,) = yaml.safe_load((SERVING / "prometheus.yml").read_text())["scrape_configs"]
    annotations = MANIFESTS["Deployment/flowzoo-serving"]["spec"]["template"]["metadata"]["annotations"]
    assert config.path == job["metrics_path"] == annotations["prometheus.io/path"]
    assert config.path == CONTAINER["livenessProbe"]["httpGet"]["path"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_flags_are_the_servers(command):
    given = flags(command)
    assert set(given) <= SERVER_FLAGS
    wanted = {"enable_batching": "true", "enable_per_model_batching_parameters": "true"}
    wanted |= {"max_num_load_retries": "0", "grpc_max_threads": "64"}
    wanted |= {"allow_version_labels_for_unavailable_models": "true", "port": "8500", "rest_api_port": "8501"}
    assert wanted.items() <= given.items()
    assert int(given["file_system_poll_wait_seconds"]) > 0


def test_each_flag_has_its_reason_beside_it():
    for path in (SERVING / "docker-compose.yml", SERVING / "kubernetes" / "deployment.yaml"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.strip().startswith("- --"):
                above = [text.strip() for text in lines[:number] if not text.strip().startswith("- --")]
                assert " # " in line or above[-1].startswith("#") or "_file=" in line, line


# -- Docker Compose --------------------------------------------------------------------------
def test_the_compose_file_fits_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command.append(str(SERVING / "docker-compose.yml"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_are_pinned_and_ports_are_local():
    for service in COMPOSE["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert CONTAINER["image"] == COMPOSE["services"]["serving"]["image"]


def test_mounted_files_exist():
    for service in COMPOSE["services"].values():
        sources = [volume.split(":")[0] for volume in service["volumes"]]
        files = [source for source in sources if source.startswith("./")]
        assert all((SERVING / file).is_file() for file in files), files
    for flag, value in flags(COMMANDS["docker-compose"]).items():
        if flag.endswith("_file"):
            assert value.startswith("/serving/")
            assert (SERVING / value.removeprefix("/serving/")).is_file()


def test_prometheus_reads_the_server():
    config = yaml.safe_load((SERVING / "prometheus.yml").read_text())
    assert set(config) == {"global", "scrape_configs"}
    (job,) = config["scrape_configs"]
    assert set(job) == {"job_name", "metrics_path", "static_configs"}
    (target,) = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert port == flags(COMPOSE["services"][service]["command"])["rest_api_port"]


# -- Grafana ---------------------------------------------------------------------------------
def test_grafana_finds_its_data_source_and_dashboard():
    (source,) = yaml.safe_load((SERVING / "grafana" / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((SERVING / "grafana" / "dashboards.yml").read_text())["providers"]
    targets = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/flowzoo.json" in targets
    for panel in DASHBOARD["panels"]:
        uids = {query["datasource"]["uid"] for query in [panel, *panel["targets"]]}
        assert uids == {source["uid"]}


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_panels_ask_for_metrics_that_the_server_has(panel):
    for query in panel["targets"]:
        text = query["expr"].replace("$__rate_interval", "1m").replace("$model", ".*")
        selectors, groups = [], set()

        def visit(node, selectors=selectors, groups=groups):
            if isinstance(node, promql_parser.VectorSelector):
                selectors.append(node)
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
                groups.update(node.modifier.labels)

        promql_parser.walk(promql_parser.parse(text), pre_visit=visit)
        assert selectors
        for selector in selectors:
            asked = {matcher.name for matcher in selector.matchers.matchers}
            assert asked <= METRICS[selector.name]
        assert groups <= set().union(*[METRICS[selector.name] for selector in selectors])
        assert set(re.findall(r"{{(\w+)}}", query["legendFormat"])) <= groups


def test_the_dashboard_shows_what_an_operator_asks_for():
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    assert {"Requests", "Errors", "Latency", "Time in the queue", "Throughput"} <= titles
    cells = [
        (panel["gridPos"]["x"] + i, panel["gridPos"]["y"] + j)
        for panel in DASHBOARD["panels"]
        for i in range(panel["gridPos"]["w"])
        for j in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    (variable,) = DASHBOARD["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["definition"]).groups()
    assert label in METRICS[metric]


# -- Kubernetes ------------------------------------------------------------------------------
@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=list(MANIFESTS))
def test_manifests_fit_the_schemas(manifest, version):
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_the_schemas_can_refuse():
    wrong = {**MANIFESTS["Service/flowzoo-serving"], "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_manifests_mean_one_another():
    labels = MANIFESTS["Deployment/flowzoo-serving"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Deployment/flowzoo-serving"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service/flowzoo-serving"]["spec"]["selector"] == labels
    assert MANIFESTS["PodDisruptionBudget/flowzoo-serving"]["spec"]["selector"]["matchLabels"] == labels
    target = MANIFESTS["HorizontalPodAutoscaler/flowzoo-serving"]["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" in MANIFESTS
    assert f"ServiceAccount/{POD['serviceAccountName']}" in MANIFESTS
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    # A headless service hands out the pods' addresses: its own ports must be the pods'.
    for port in MANIFESTS["Service/flowzoo-serving"]["spec"]["ports"]:
        assert port["port"] == ports[port["targetPort"]]


def test_mounted_settings_are_in_the_config_maps():
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{name}"
        for volume in POD["volumes"]
        if "configMap" in volume
        for name in MANIFESTS[f"ConfigMap/{volume['configMap']['name']}"]["data"]
    }
    named = {value for flag, value in flags(COMMANDS["kubernetes"]).items() if flag.endswith("_file")}
    assert named == files


def test_the_server_gets_the_cpus_it_asks_for():
    cpus = CONTAINER["resources"]["requests"]["cpu"]
    given = flags(COMMANDS["kubernetes"])
    assert given["tensorflow_intra_op_parallelism"] == given["tensorflow_inter_op_parallelism"] == cpus
    assert f"num_batch_threads {{ value: {cpus} }}" in config_texts("batching.config")["kubernetes"]


def test_the_pod_is_as_harmless_as_can_be():
    assert POD["securityContext"]["runAsNonRoot"]
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_readiness_asks_for_a_label_that_is_configured():
    """What the server answers to such a path, tests/conversation/test_labels.py shows."""
    path = CONTAINER["readinessProbe"]["httpGet"]["path"]
    name, label = re.fullmatch(r"/v1/models/(\w+)/labels/(\w+)/metadata", path).groups()
    text = config_texts("models.config")["kubernetes"]
    models = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    assert label in {model.name: model for model in models}[name].version_labels


# -- the how-to ------------------------------------------------------------------------------
def test_the_how_to_names_every_file():
    text = (SERVING / "README.md").read_text()
    for path in [*SERVING.glob("*.*"), *(SERVING / "kubernetes").iterdir()]:
        if path.suffix in {".config", ".yml", ".yaml"}:
            assert f"`{path.name}`" in text, path.name


def test_json_of_the_how_to_is_json():
    bodies = re.findall(r"curl -d '([^']+)'", (SERVING / "README.md").read_text())
    assert [json.loads(body)["signature_name"] for body in bodies] == ["score", "sample"]
