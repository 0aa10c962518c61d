"""docker-compose.yml against the files that it names: mounts, commands, variables, and what must not be in it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from otel_search import stack

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = {"app", "stack", "full"}


def mounts(service: str) -> dict[PurePosixPath, Path]:
    """What is mounted from the checkout, by its place in the container."""
    found = {}
    for volume in SERVICES[service].get("volumes", ()):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            found[PurePosixPath(target)] = ROOT / source
    return found


def in_the_checkout(service: str, path: str) -> Path:
    """The file that a path in the container stands for."""
    for target, source in sorted(mounts(service).items(), key=lambda each: -len(each[0].parts)):
        if PurePosixPath(path).is_relative_to(target):
            return source / PurePosixPath(path).relative_to(target)
    raise AssertionError(f"{service} has nothing mounted at {path}")


def configurations(service: str) -> list[Path]:
    """The files that a service is started with."""
    command = " ".join(SERVICES[service].get("command", ()))
    return [in_the_checkout(service, path) for path in re.findall(r"--config(?:\.file)?=(\S+)", command)]


@pytest.mark.parametrize("service", SERVICES)
def test_everything_that_is_mounted_or_named_is_there(service: str) -> None:
    for source in mounts(service).values():
        assert source.exists(), source
    for file in configurations(service):
        assert file.is_file(), file
    for volume in SERVICES[service].get("volumes", ()):
        name = volume.split(":")[0]
        assert name.startswith(".") or name in COMPOSE["volumes"]


@pytest.mark.parametrize("service", ["collector", "jaeger"])
def test_a_configurations_variables_are_those_that_the_service_gets(service: str) -> None:
    read = {
        name: default
        for file in configurations(service)
        for name, default in re.findall(r"\$\{env:(\w+)(:-[^}]*)?\}", file.read_text("utf-8"))
    }
    given = SERVICES[service]["environment"]
    assert set(given) <= set(read), "nobody reads it"
    assert {name for name, default in read.items() if not default} <= set(given), "it has no default"
    # What listens on loopback by default would not be reached from the other containers.
    listening = {
        name for name, default in read.items() if re.search(r"(_ENDPOINT|_HOST)$", name) and "127.0.0.1" in default
    }
    assert listening <= set(given)


def test_the_collector_runs_each_signal_to_its_backend() -> None:
    pipelines: dict[str, Any] = {}
    for file in configurations("collector"):
        pipelines |= yaml.safe_load(file.read_text("utf-8")).get("service", {}).get("pipelines", {})
    assert {"traces/jaeger", "metrics/prometheus", "logs/elasticsearch", "traces/span_metrics"} <= set(pipelines)


def test_hosts_in_urls_are_services() -> None:
    hosts = re.findall(r"(?:https?://(?:[^/@\s]*@)?|(?<=ENDPOINT: ))([a-z][a-z-]*):\d", TEXT)
    files = [*(ROOT / "collector" / "prometheus").glob("*-compose.yaml")]
    files += [*(ROOT / "collector" / "grafana").rglob("datasources.yaml")]
    hosts += [host for file in files for host in re.findall(r"([a-z]+):\d{4,5}", file.read_text("utf-8"))]
    assert set(hosts) - {"localhost"} <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_pinned_bounded_and_reached_from_this_machine_alone(service: str) -> None:
    definition = SERVICES[service]
    if "build" not in definition:
        assert re.search(r":v?\d+\.\d+\.\d+$", definition["image"]), definition["image"]
    assert set(definition["profiles"]) <= PROFILES
    assert set(definition["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    for port in definition.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert all(mount.endswith(":ro") for mount in definition.get("volumes", ()) if mount.startswith("."))


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_waits_for_what_his_profile_does_not_start(service: str) -> None:
    for name, condition in SERVICES[service].get("depends_on", {}).items():
        needed = SERVICES[name]
        if condition.get("required", True):
            assert set(SERVICES[service]["profiles"]) <= set(needed["profiles"]), name
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in needed, name


def test_passwords_have_no_default_and_are_made() -> None:
    secret = re.compile(r"\$\{(\w*(?:PASSWORD|TOKEN|AUTHORIZATION)\w*)([^}]*)\}")
    found = secret.findall(TEXT)
    assert found
    assert all(default.startswith(":?") for _, default in found)
    assert {name for name, _ in found} == {*stack.PASSWORDS, "COLLECTOR_ELASTICSEARCH_AUTHORIZATION"}


def test_grafanas_variables_are_given_to_it() -> None:
    text = (ROOT / "collector/grafana/provisioning/datasources/datasources.yaml").read_text("utf-8")
    read = {name for line in text.splitlines() if line[:1] != "#" for name in re.findall(r"(?<!\$)\$(\w+)", line)}
    assert read <= set(SERVICES["grafana"]["environment"])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert in_the_checkout("grafana", home).is_file()


def test_the_setup_of_elasticsearch_gets_what_it_reads() -> None:
    script = (ROOT / "collector/elasticsearch/setup.sh").read_text("utf-8")
    read = set(re.findall(r"\$\{?([A-Z_]{3,})", script))
    assert read == set(SERVICES["elasticsearch-setup"]["environment"])


@pytest.mark.parametrize("path", ["Dockerfile", "otel_search/stack/Dockerfile"])
def test_an_image_runs_as_nobody_special_and_says_how_it_is(path: str) -> None:
    lines = (ROOT / path).read_text("utf-8").splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user != "root"
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert lines.index(f"USER {user}") < next(number for number, line in enumerate(lines) if line.startswith("CMD "))
    assert re.search(r"^FROM python:\d+\.\d+", "\n".join(lines), re.MULTILINE)


def test_what_the_image_copies_is_in_the_checkout() -> None:
    for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
