"""The manifests: parsed, each reference followed, and the configuration of agents and gateways run by the Collector's own check."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backends.components import find
from tests.backends.fixtures import require
from tests.collector.layers import COLLECTOR, merged, undefined

KUSTOMIZATION = yaml.safe_load((COLLECTOR / "kustomization.yaml").read_text("utf-8"))
MANIFESTS = [
    document
    for resource in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((COLLECTOR / resource).read_text("utf-8"))
]
WORKLOADS = {
    document["metadata"]["name"]: document for document in MANIFESTS if document["kind"] in ("DaemonSet", "Deployment")
}
CONFIG_MAPS = {each["name"]: each for each in KUSTOMIZATION["configMapGenerator"]}


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def container(workload: str) -> dict[str, Any]:
    (found,) = WORKLOADS[workload]["spec"]["template"]["spec"]["containers"]
    return found


def configuration(workload: str) -> list[Path]:
    """The files that a workload's container is started with, in the checkout."""
    volumes = {each["name"]: each for each in WORKLOADS[workload]["spec"]["template"]["spec"]["volumes"]}
    (mount,) = [each for each in container(workload)["volumeMounts"] if each["mountPath"] == "/etc/otelcol"]
    files = CONFIG_MAPS[volumes[mount["name"]]["configMap"]["name"]]["files"]
    by_name = {Path(file).name: COLLECTOR / file for file in files}
    assert len(by_name) == len(files), "two files of one name would be one key"
    named = [argument.removeprefix("--config=/etc/otelcol/") for argument in container(workload)["args"]]
    assert set(named) == set(by_name)
    return [by_name[name] for name in named]


def test_what_the_kustomization_names_is_there() -> None:
    for each in KUSTOMIZATION["configMapGenerator"]:
        for file in (*each.get("files", ()), *each.get("envs", ())):
            assert (COLLECTOR / file).is_file(), file
    for document in MANIFESTS:
        assert {"apiVersion", "kind", "metadata"} <= set(document)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_is_pinned_bounded_and_not_root(workload: str) -> None:
    pod = WORKLOADS[workload]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(workload)["image"] == "otel/opentelemetry-collector-contrib:0.155.0"
    assert container(workload)["resources"]["limits"]["memory"]
    assert container(workload)["securityContext"]["readOnlyRootFilesystem"] is True
    selector = WORKLOADS[workload]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= WORKLOADS[workload]["spec"]["template"]["metadata"]["labels"].items()
    one("ServiceAccount", pod["serviceAccountName"])
    ports = {port["name"] for port in container(workload)["ports"]}
    for probe in ("readinessProbe", "livenessProbe"):
        assert container(workload)[probe]["httpGet"]["port"] in ports


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workloads_variables_are_those_that_its_configuration_reads(workload: str) -> None:
    read = {
        name: default
        for file in configuration(workload)
        for name, default in re.findall(r"\$\{env:(\w+)(:-[^}]*)?\}", file.read_text("utf-8"))
    }
    given = {each["name"]: each.get("value") for each in container(workload)["env"]}
    backends = (COLLECTOR / CONFIG_MAPS["otel-search-backends"]["envs"][0]).read_text("utf-8")
    shared = dict(line.split("=", 1) for line in backends.splitlines() if line[:1] != "#")
    assert set(given) - {"GOMEMLIMIT"} <= set(read)
    assert {name for name, default in read.items() if not default} <= {*given, *shared}
    assert all(any(name in read_by for read_by in map(_text, WORKLOADS)) for name in shared)
    # The limiter refuses before the kernel kills.
    limit = container(workload)["resources"]["limits"]["memory"]
    mebibytes = int(limit[:-2]) * (1024 if limit.endswith("Gi") else 1)
    assert int(given["COLLECTOR_MEMORY_LIMIT_MIB"]) < mebibytes


def _text(workload: str) -> str:
    return "".join(file.read_text("utf-8") for file in configuration(workload))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workloads_configuration_is_whole(workload: str) -> None:
    assert not undefined(merged(configuration(workload)))


def test_metrics_of_spans_are_made_before_any_sampling_and_in_one_place() -> None:
    names = {workload: {file.name for file in configuration(workload)} for workload in WORKLOADS}
    made = {"span_metrics.yaml", "search_metrics.yaml"}
    assert made <= names["agent"]
    assert not made & names["gateway"]
    assert "tail_sampling.yaml" in names["gateway"] - names["agent"]


@pytest.mark.backends
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_collector_accepts_a_workloads_configuration(workload: str) -> None:
    require("otelcol-search")
    # The contrib exporter is in the official image alone; its twin stands in for it.
    files = [
        str(file).replace("exporters/elasticsearch.yaml", "exporters/elasticsearch-otlp.yaml")
        for file in configuration(workload)
    ]
    command = [str(find("otelcol-search")), "validate", *(f"--config={file}" for file in files)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_the_autoscaler_and_the_budget_are_the_gateways() -> None:
    autoscaler = one("HorizontalPodAutoscaler", "gateway")["spec"]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    assert "replicas" not in WORKLOADS["gateway"]["spec"], "it would fight with the autoscaler"
    labels = WORKLOADS["gateway"]["spec"]["template"]["metadata"]["labels"]
    assert one("PodDisruptionBudget", "gateway")["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("kind", "name", "endpoints", "labelled"),
    [
        ("ServiceMonitor", "gateway", "endpoints", ("Service", "gateways")),
        ("PodMonitor", "agent", "podMetricsEndpoints", ("DaemonSet", "agent")),
    ],
)
def test_a_monitor_finds_the_port_of_the_collectors_own_metrics(
    kind: str, name: str, endpoints: str, labelled: tuple[str, str]
) -> None:
    monitor = one(kind, name)["spec"]
    target = one(*labelled)
    labels = (
        target["metadata"]["labels"] if kind == "ServiceMonitor" else target["spec"]["template"]["metadata"]["labels"]
    )
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    ports = target["spec"]["ports"] if kind == "ServiceMonitor" else container(name)["ports"]
    assert {endpoint["port"] for endpoint in monitor[endpoints]} <= {port["name"] for port in ports}
    jobs = {rule["replacement"] for endpoint in monitor[endpoints] for rule in endpoint["relabelings"]}
    assert jobs == {"otelcol"}, "the job that rules and dashboards ask for"


def test_instrumented_pods_send_to_the_agent_on_their_node() -> None:
    instrumentation = one("Instrumentation", "otel-search")["spec"]
    port = int(instrumentation["exporter"]["endpoint"].rpartition(":")[2])
    assert port in {each.get("hostPort") for each in container("agent")["ports"]}
    assert "$(OTEL_NODE_IP)" in instrumentation["exporter"]["endpoint"]
    assert {each["name"] for each in instrumentation["env"]} >= {"OTEL_NODE_IP"}
    variables = {each["name"]: each["value"] for each in instrumentation["python"]["env"]}
    assert variables["OTEL_PYTHON_DISTRO"] == "otel_search"
