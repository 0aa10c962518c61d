"""Each thing that can be wrong in an environment, made wrong: variables, packages, files, ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import otel_search
from otel_search.doctor.examination import examine
from tests.distributions import install, install_again
from tests.doctor.examined import WELL, findings, only
from tests.doctor.servers import answering, closed

VARIABLES = {
    "distro-unknown": ({"OTEL_PYTHON_DISTRO": "otel-search"}, "there are distro, otel_search"),
    "other-distro": ({"OTEL_PYTHON_DISTRO": "distro"}, "OTEL_PYTHON_DISTRO=distro asks for it"),
    "other-configurator": ({"OTEL_PYTHON_CONFIGURATOR": "configurator"}, "'configurator' sets up the SDK"),
    "sdk-disabled": ({"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED=true"),
    "propagator-unknown": ({"OTEL_PROPAGATORS": "tracecontext,b3"}, "has 'b3'; installed are baggage, none"),
    "config-file-missing": ({"OTEL_CONFIG_FILE": "/no/such/file.yaml"}, "No such file or directory"),
    "config-file": ({"OTEL_CONFIG_FILE": __file__}, "decides on providers"),
    "value-not-accepted": ({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY='soon' is not accepted"),
    "setting-unknown": ({"OTEL_SEARCH_LOGFORMAT": "json"}, "did you mean OTEL_SEARCH_LOG_FORMAT?"),
    "signal-off": ({"OTEL_TRACES_EXPORTER": "none"}, "no traces are exported"),
    "sampling-off": ({"OTEL_TRACES_SAMPLER": "always_off"}, "drops every trace"),
    "sampling-ratio": (
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
        "keeps 10.% of the traces",
    ),
    "urls-excluded": ({"OTEL_PYTHON_EXCLUDED_URLS": "health,.*"}, "OTEL_PYTHON_EXCLUDED_URLS has '.*'"),
    "service-unnamed": ({"OTEL_SERVICE_NAME": ""}, "unknown_service"),
    "instrumentor-disabled": (
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "requests, fastapi"},
        "has 'fastapi': no server spans",
    ),
    "fastapi-off": ({"OTEL_SEARCH_FASTAPI": "off"}, "requests have no spans"),
    "elasticsearch-off": (
        {"OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED": "True"},
        "ENABLED='True': the Elasticsearch client makes no spans",
    ),
    "fastapi-doubles": ({"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}, "beside the launcher's"),
    "log-file-unwritable": ({"OTEL_SEARCH_LOG_FILE": "/no/such/directory/app.log"}, "No such file or directory"),
    "failure-file-unwritable": ({"OTEL_SEARCH_LOGS_FAILURE_FILE": "/tmp"}, "it is a directory"),
    "alert-state-unwritable": ({"OTEL_SEARCH_ALERTS_STATE": "/no/such/directory/state"}, "No such file or directory"),
    "file-unreadable": (
        {"OTEL_SEARCH_ALERTS_RULES": "/no/such/rules.yaml"},
        "ALERTS_RULES=/no/such/rules.yaml: No such",
    ),
    "spool-unwritable": ({"OTEL_SEARCH_LOGS_SPOOL": "/proc/spool"}, "OTEL_SEARCH_LOGS_SPOOL=/proc/spool: /proc"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_what_a_variable_does_is_found(name: str) -> None:
    environ, text = VARIABLES[name]
    assert text in only(environ, name)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert set(findings({})) == {"signal-not-by-otlp"}


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
        {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
    ],
)
def test_other_ways_to_sample_nothing_are_found(environ: dict[str, str]) -> None:
    assert "sampling-off" in findings(environ)


def test_a_disabled_instrumentor_is_found_by_each_of_its_names() -> None:
    found = findings({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*,otel_search_elasticsearch"})
    assert len(found["instrumentor-disabled"]) == 2


def test_secrets_are_masked() -> None:
    found = findings({"OTEL_EXPORTER_OTLP_TIMEOUT": "https://user:hunter2@host/?token=hunter2"})
    assert "hunter2" not in str(found)


def test_a_header_that_is_none_is_found_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    environ = {**WELL, "OTEL_EXPORTER_OTLP_HEADERS": "authorization Bearer hunter2"}
    found = examine(environ)
    assert {finding.check for finding in found.findings} == {"value-not-accepted", "signal-not-by-otlp"}
    assert "hunter2" not in json.dumps(found.facts()) + caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_log_file_of_somebody_else_is_found(tmp_path: Path) -> None:
    (tmp_path / "app.log").touch(0o400)
    assert "Permission denied" in only({"OTEL_SEARCH_LOG_FILE": str(tmp_path / "app.log")}, "log-file-unwritable")


# -- ports ------------------------------------------------------------------------------------


def test_a_management_port_that_is_taken_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = {"OTEL_SEARCH_MANAGEMENT_PORT": str(taken.getsockname()[1])}
        assert "something listens on" in only(environ, "management-port-taken")


def test_a_prometheus_port_that_is_taken_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = {
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(taken.getsockname()[1]),
        }
        assert "something listens already" in only(environ, "prometheus-port-taken")


# -- other servers ----------------------------------------------------------------------------


def test_an_engine_that_is_down_is_found() -> None:
    with closed() as port:
        url = f"http://elastic:hunter2@127.0.0.1:{port}"
        text = only({"OTEL_SEARCH_ELASTICSEARCH_URL": url}, "engine-unreachable")
    assert "nothing listens" in text
    assert "hunter2" not in text


def test_an_engine_that_wants_credentials_is_found() -> None:
    with answering(401) as port:
        environ = {
            "OTEL_LOGS_EXPORTER": "elasticsearch",
            "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": f"http://127.0.0.1:{port}",
        }
        assert "status 401" in only(environ, "engine-refuses")


def test_a_prometheus_without_its_api_is_found() -> None:
    with answering(404) as port:
        environ = {"OTEL_SEARCH_KPI_SOURCE": f"http://127.0.0.1:{port}"}
        assert "status 404" in only(environ, "prometheus-unreachable")


def test_a_mail_server_that_is_down_is_found() -> None:
    with closed() as port:
        environ = {"OTEL_SEARCH_ALERTS_SMTP_HOST": "127.0.0.1", "OTEL_SEARCH_ALERTS_SMTP_PORT": str(port)}
        assert f"nothing listens on 127.0.0.1:{port}" in only(environ, "mail-unreachable")


@pytest.mark.parametrize(("ahead", "words"), [(3600, "behind"), (-3600, "ahead of")])
def test_clocks_that_differ_are_found(ahead: float, words: str) -> None:
    with answering(seconds_ahead=ahead, body=b'{"status":"success"}') as port:
        text = only({"OTEL_SEARCH_KPI_SOURCE": f"http://127.0.0.1:{port}"}, "clock-skew")
    assert f"s {words} 127.0.0.1:{port}" in text


# -- what is installed ------------------------------------------------------------------------


def test_another_distribution_that_is_found_first_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install_again(tmp_path, "opentelemetry-distro")))
    assert "it is found first" in "\n".join(findings_without("OTEL_PYTHON_DISTRO")["other-distro"])


def findings_without(variable: str) -> dict[str, list[str]]:
    from otel_search.doctor.case import Case
    from tests.doctor.examined import WELL

    return findings({}, Case({name: value for name, value in WELL.items() if name != variable}))


def test_versions_that_do_not_fit_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path, "opentelemetry-api", {}, version="1.2.0")))
    text = only({}, "version-skew")
    assert "opentelemetry-sdk" in text
    assert "needs opentelemetry-api" in text
    assert "and 1.2.0 is installed" in text


def test_an_old_client_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path, "elasticsearch", {}, version="7.17.9")))
    assert "elasticsearch 7.17.9 is not supported" in only({}, "elasticsearch-without-telemetry")


def test_a_launcher_of_another_environment_is_found(tmp_path: Path) -> None:
    launcher = tmp_path / "opentelemetry-instrument"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert f"the shell finds {launcher}" in only({"PATH": path}, "launcher-elsewhere")


def bare_environment(directory: Path, *without: str) -> Path:
    """The installed packages but for some, for a Python that is started with `-S`."""
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        # Of ours there may be data files beside the editable package, which is linked below.
        if path.name != "otel_search" and not path.name.lower().startswith(without):
            (directory / path.name).symlink_to(path)
    for path in Path(otel_search.__file__).parent.parent.iterdir():
        if path.name == "otel_search":
            (directory / path.name).symlink_to(path)
    return directory


def doctor_of(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = "import sys; from otel_search.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        # Outside of the virtual environment, so that nothing is beside this Python.
        [os.path.realpath(sys.executable), "-S", "-c", source, "doctor", *arguments],
        env={"PATH": "/nowhere", "PYTHONPATH": str(site), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_launcher_contrib_and_all_that_is_optional_it_still_finds(tmp_path: Path) -> None:
    optional = ("rich", "uvicorn", "httpx", "elasticsearch", "elastic_transport", "osmem", "shtab", "jinja2")
    site = bare_environment(tmp_path, "fastapi-", "opentelemetry_instrumentation_fastapi", *optional)
    install(site, "fastapi", {}, version="0.120.0")
    done = doctor_of(site, "--json")
    assert done.returncode == 1, done.stderr
    found = {finding["check"]: finding["what"] for finding in json.loads(done.stdout)["findings"]}
    assert found["fastapi-without-telemetry"].startswith("FastAPI 0.120.0 makes no spans")
    assert "is neither beside" in found["launcher-missing"]
    plain = doctor_of(site)
    assert "ERROR fastapi-without-telemetry: FastAPI 0.120.0" in plain.stdout
    assert "  -> upgrade FastAPI to 0.142 or later" in plain.stdout
