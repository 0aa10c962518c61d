"""`opentelemetry-instrument uvicorn app:app`: with nothing set, with much set, and with what is set wrongly."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import otel_search
from otel_search.viewer.recording import Recording
from tests.distributions import install, install_again
from tests.service import APPS, BIN, Service, eventually, serve

PRINTS_WHAT_IS_THERE = """
import fastapi, json, os
from opentelemetry import trace
resource = getattr(trace.get_tracer_provider(), "resource", None)
print("FOUND " + json.dumps({
    "distro": None if resource is None else resource.attributes.get("telemetry.distro.name"),
    "hooked": fastapi.FastAPI.__call__.__module__.startswith("otel_search"),
    "environment": {name: value for name, value in os.environ.items() if name.startswith("OTEL_")},
}))
"""


NO_DISTRO = {"OTEL_PYTHON_DISTRO": None}
NO_EXPORT = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


class Launched:
    """A program that has run under the launcher, to its end."""

    def __init__(self, source: str = PRINTS_WHAT_IS_THERE, env: Mapping[str, str | None] | None = None) -> None:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))},
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_SEARCH_SHUTDOWN_TIMEOUT": "0",
            "OTEL_PYTHON_DISTRO": "otel_search",
            **(env or {}),
        }
        done = subprocess.run(
            [BIN / "opentelemetry-instrument", sys.executable, "-c", source],
            cwd=APPS,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        self.lines = done.stdout.splitlines() + done.stderr.splitlines()
        found = [line.removeprefix("FOUND ") for line in self.lines if line.startswith("FOUND ")]
        self.found = json.loads(found[0]) if found else {}
        # What is lost at the end is not what these tests are about: nobody receives.
        self.notices = [
            line for line in self.lines if not line.startswith("FOUND ") and "telemetry was lost" not in line
        ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service with no setting but the receiver's address, after two requests and its end."""
    # As if upstream's distribution was not installed: in its place is one without entry points.
    nothing_else = install(tmp_path_factory.mktemp("masked"), "opentelemetry-distro", {})
    unset = {"OTEL_SERVICE_NAME": "", "OTEL_PYTHON_DISTRO": "", "PYTHONPATH": str(nothing_else)}
    with serve("telling:app", env=unset) as service:
        service.get("/items/1")
        service.get("/items/2")
        service.stop()
        yield service


def server_spans(recording: Recording) -> list:
    return [span for span in recording.spans if span.kind == "SERVER"]


def test_without_any_setting_all_three_signals_leave(plain: Service) -> None:
    assert [span.name for span in server_spans(plain.recording)] == ["GET /items/{number}"] * 2
    assert [record.body for record in plain.recording.logs if record.scope == "app"] == ["item 1", "item 2"]
    assert sum(point.count for point in plain.recording.latest("http.server.request.duration")) == 2


def test_semantic_conventions_are_the_stable_ones(plain: Service) -> None:
    span = server_spans(plain.recording)[0]
    assert span.attributes["http.request.method"] == "GET"
    assert "http.method" not in span.attributes
    assert {point.unit for point in plain.recording.latest("http.server.request.duration")} == {"s"}


def test_every_signal_names_the_distribution(plain: Service) -> None:
    everything = [*plain.recording.spans, *plain.recording.logs, *plain.recording.metrics]
    described = {
        (item.resource["telemetry.distro.name"], item.resource["telemetry.distro.version"]) for item in everything
    }
    assert described == {("otel-search", otel_search.__version__)}


def test_nothing_is_wrong_and_nothing_comes_from_the_machinery(plain: Service) -> None:
    assert plain.error_lines == []
    assert {event["level"] for event in plain.events()} == {"info"}
    assert not [event for event in plain.events() if event["logger"].startswith("opentelemetry")]


# -- beside other distributions ---------------------------------------------------------------


@pytest.fixture
def other_first(tmp_path: Path) -> dict[str, str]:
    """OpenTelemetry's own distribution, to be found before ours."""
    return {"PYTHONPATH": str(install_again(tmp_path, "opentelemetry-distro"))}


@pytest.fixture
def ours_first(tmp_path: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(install_again(tmp_path, "otel-search"))}


def test_the_variable_chooses_ours_whatever_is_found_first(other_first: dict[str, str]) -> None:
    launched = Launched(env=other_first)
    assert launched.found["distro"] == "otel-search"
    assert launched.found["hooked"]
    assert launched.found["environment"]["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert launched.notices == []


def test_a_service_beside_another_distribution_sends_everything_once(other_first: dict[str, str]) -> None:
    with serve("telling:app", env=other_first) as service:
        service.get("/items/1")
        service.stop()
        assert len(server_spans(service.recording)) == 1
        assert sum(point.count for point in service.recording.latest("http.server.request.duration")) == 1
        assert service.error_lines == []


def test_when_another_is_found_first_it_is_in_charge_alone_and_that_is_said(other_first: dict[str, str]) -> None:
    launched = Launched(env={**other_first, **NO_DISTRO, **NO_EXPORT})
    assert launched.found["distro"] is None
    assert not launched.found["hooked"]
    said = [line for line in launched.notices if "OTEL_PYTHON_DISTRO=otel_search" in line]
    assert len(said) == 1
    assert "opentelemetry-distro was found first and is in charge" in said[0]


def test_when_ours_is_found_first_that_is_said(ours_first: dict[str, str]) -> None:
    launched = Launched(env={**ours_first, **NO_DISTRO})
    assert launched.found["distro"] == "otel-search"
    assert len(launched.notices) == 1
    line = json.loads(launched.notices[0])
    assert line["level"] == "info"
    assert "otel-search was found first and is in charge, opentelemetry-distro is installed beside it" in line["event"]


def test_a_distribution_that_is_not_installed_is_named_with_those_that_are(ours_first: dict[str, str]) -> None:
    launched = Launched(env={**ours_first, "OTEL_PYTHON_DISTRO": "otel-search"})
    said = [line for line in launched.notices if "OTEL_PYTHON_DISTRO='otel-search'" in line]
    assert len(said) == 1
    assert "accepted: distro | otel_search" in said[0]


# -- the user's settings ----------------------------------------------------------------------


def test_what_the_user_has_set_wins_over_each_default() -> None:
    chosen = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "console",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup",
        "OTEL_LOGS_EXPORTER": "",  # as unset
    }
    environment = Launched(env=chosen).found["environment"]
    assert environment == {**environment, **chosen, "OTEL_LOGS_EXPORTER": "otlp"}


def test_a_disabled_instrumentor_is_ours_too() -> None:
    assert not Launched(env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi, system_metrics"}).found["hooked"]


@pytest.mark.parametrize("how", ["raise ValueError('out of order')", "raise ImportError('wrong binary')"])
def test_a_broken_instrumentor_is_reported_once_and_stops_nothing(tmp_path: Path, how: str) -> None:
    source = f"""
class Broken:
    def instrument(self, **kwargs):
        {how}
class Fine:
    def instrument(self, **kwargs):
        print("FINE")
"""
    entries = {"aaa_broken": "instrumentors:Broken", "zzz_fine": "instrumentors:Fine"}
    install(tmp_path, "instrumentors", {"opentelemetry_instrumentor": entries}, {"instrumentors": source})
    launched = Launched(env={"PYTHONPATH": str(tmp_path)})
    assert "FINE" in launched.lines
    assert launched.found["hooked"]
    said = [json.loads(line) for line in launched.notices if "aaa_broken" in line]
    assert [line["level"] for line in said] == ["error"]
    error, text = how.removeprefix("raise ").removesuffix("')").split("('")
    assert said[0]["event"] == f"instrumentor aaa_broken failed and is left out: {error}: {text}"
    assert "exception.stacktrace" not in said[0]


WRONG = {
    "OTEL_TRACES_EXPORTER": "otlp,otpl",
    "OTEL_METRICS_EXPORTER": "prometeus",
    "OTEL_SEARCH_ACCESS_LOG": "on",
    "OTEL_SEARCH_LOGFORMAT": "json",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "-1",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "99999",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "many",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "few",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-5",
    "OTEL_METRICS_EXEMPLAR_FILTER": "some",
    "OTEL_METRIC_EXPORT_TIMEOUT": "soon",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_PYTHON_ID_GENERATOR": "dice",
    "OTEL_PYTHON_CONFIGURATOR": "otel_serach",
    "OTEL_PYTHON_TRACER_PROVIDER": "jaeger",
    "OTEL_PYTHON_METER_PROVIDER": "statsd",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment,team=search,=x",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "moon,otel",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "vault",
    "OTEL_SEARCH_KPI_SOURCE": "grafana=http://grafana",
    "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": ",",
    "OTEL_SEARCH_ELASTICSEARCH_URL": "http://engine:99999",
    "OTEL_SEARCH_METRICS_PATH": "/health/ready",
    "OTEL_SEARCH_HEALTH_TIMEOUT": "0",
    "OTEL_SDK_DISABLED": "no",
}


def test_each_wrong_value_is_one_line_and_costs_nothing_else() -> None:
    with serve("telling:app", env=WRONG) as service:
        service.get("/items/1")
        service.stop()
        assert len(server_spans(service.recording)) == 1
        assert service.recording.latest("http.server.request.duration")
        assert service.error_lines == []
        notices = [event for event in service.events() if event["level"] not in ("info", "debug")]
    for variable, value in WRONG.items():
        about = [event["event"] for event in notices if event["event"].startswith(variable)]
        assert len(about) == 1, (variable, notices)
        if variable == "OTEL_SEARCH_LOGFORMAT":
            assert about[0].endswith("did you mean OTEL_SEARCH_LOG_FORMAT?")
        else:
            assert about[0].startswith(f"{variable}={value!r} is not accepted, using ")
            assert "; accepted: " in about[0]
    assert len(notices) == len(WRONG)


def test_the_sdks_own_providers_asked_for_by_name_are_those_that_export() -> None:
    names = {f"OTEL_PYTHON_{name.upper()}_PROVIDER": f"sdk_{name}_provider" for name in ("tracer", "meter", "logger")}
    with serve("telling:app", env=names) as service:
        service.get("/items/1")
        service.recording.wait_for(
            lambda seen: seen.spans and seen.logs and seen.latest("http.server.request.duration")
        )
        assert [event for event in service.events() if event["level"] != "info"] == []


def test_another_configurator_is_the_users_choice_and_what_is_missing_then_is_said() -> None:
    said = [
        line for line in Launched(env={"OTEL_PYTHON_CONFIGURATOR": "configurator"}).notices if "CONFIGURATOR" in line
    ]
    assert len(said) == 1
    assert "OTEL_PYTHON_CONFIGURATOR=configurator sets up telemetry in otel-search's place" in said[0]


def test_an_endpoint_without_scheme_is_said_at_the_start() -> None:
    notices = Launched(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}).notices
    assert len(notices) == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318' is not accepted" in notices[0]
    assert "accepted: a URL such as http://collector:4318" in notices[0]


def test_a_grpc_target_needs_no_scheme() -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert Launched(env=env).notices == []


def test_without_propagators_requests_are_served_and_traces_begin_here() -> None:
    with serve("telling:app", env={"OTEL_PROPAGATORS": "none"}) as service:
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        response = service.get("/items/1", headers=headers)
        assert response.status_code == 200
        service.stop()
        span = server_spans(service.recording)[0]
        assert span.trace_id == response.headers["x-trace-id"] != "0af7651916cd43dd8448eb211c80319c"
        assert span.parent_span_id == ""


# -- as if it was not there -------------------------------------------------------------------


def without_what_differs(lines: list[str]) -> list[str]:
    return [re.sub(r"\[\d+\]|127\.0\.0\.1:\d+", "…", line) for line in lines]


def test_disabled_it_is_as_if_not_installed() -> None:
    with (
        serve("telling:app", launcher=False) as bare,
        serve("telling:app", env={"OTEL_SDK_DISABLED": "true"}) as service,
    ):
        expected, response = bare.get("/items/1"), service.get("/items/1")
        assert set(response.headers) == set(expected.headers)
        assert service.stop() == bare.stop()
        assert without_what_differs(service.lines) == without_what_differs(bare.lines)
        assert without_what_differs(service.error_lines) == without_what_differs(bare.error_lines)
        assert service.recording.summary().startswith("0 spans (), 0 log records, 0 points")


def test_disabled_it_leaves_the_classes_and_the_loggers_alone() -> None:
    source = """
import logging, signal, sys, fastapi
logging.warning("plain")
print(fastapi.FastAPI.__call__.__module__, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
      sys.excepthook is sys.__excepthook__, "opentelemetry.sdk" in sys.modules)
"""
    assert Launched(source, env={"OTEL_SDK_DISABLED": "true"}).lines == [
        "fastapi.applications True True False",
        "WARNING:root:plain",
    ]


# -- declarative configuration ----------------------------------------------------------------

CONFIGURATION = """
file_format: "1.0"
resource:
  attributes:
    - {name: service.name, value: by-file}
tracer_provider:
  processors:
    - batch:
        schedule_delay: 200
        exporter:
          otlp_http:
            endpoint: ${OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces
"""


def test_a_configuration_file_that_cannot_be_used_is_one_line_and_the_application_runs(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    with serve("telling:app", env={"OTEL_CONFIG_FILE": str(path)}) as service:
        assert service.get("/items/1").status_code == 200
        service.stop()
        errors = [event["event"] for event in service.events(level="error")]
        assert len(errors) == 1
        assert errors[0].startswith(f"OTEL_CONFIG_FILE={path} cannot be used, the application runs without telemetry: ")
        assert service.error_lines == []
        assert service.recording.spans == []


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.configuration") is None, reason="needs opentelemetry-configuration"
)
def test_a_configuration_file_decides_alone_on_providers_and_exporters(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.yaml"
    path.write_text(CONFIGURATION)
    with serve("telling:app", env={"OTEL_CONFIG_FILE": str(path), "OTEL_SERVICE_NAME": ""}) as service:
        response = service.get("/items/1")
        service.stop()
        spans = server_spans(service.recording)
        assert [span.trace_id for span in spans] == [response.headers["x-trace-id"]]
        assert spans[0].resource["service.name"] == "by-file"
        assert "telemetry.distro.name" not in spans[0].resource
        assert service.recording.logs == []
        assert service.recording.metrics == []
        assert service.event(event="request completed")["service.name"] == "by-file"
        assert service.error_lines == []


HOW_IMPORTED = [
    "import fastapi, elasticsearch",
    "import elasticsearch, fastapi",
    "from otel_search import instrument",
    "import otel_search.elasticsearch.hooks, otel_search.fastapi",
    "import fastapi; from otel_search import instrument; instrument(fastapi.FastAPI())",
    "import threading as t; [t.Thread(target=__import__, args=(name,)).start() for name in ('fastapi', 'elasticsearch')]",
]


@pytest.mark.parametrize("imports", HOW_IMPORTED)
def test_the_libraries_are_instrumented_whoever_imports_them_first(imports: str) -> None:
    launched = Launched(f"{imports}\n{PRINTS_WHAT_IS_THERE}", env=NO_EXPORT)
    assert launched.found["hooked"]
    assert launched.notices == []


def test_a_library_that_is_not_used_is_not_imported() -> None:
    source = "import sys; print([name for name in ('fastapi', 'elasticsearch', 'aiohttp') if name in sys.modules])"
    assert Launched(source, env=NO_EXPORT).lines == ["[]"]


def test_the_entry_points_have_names_of_their_own() -> None:
    for group in ("opentelemetry_distro", "opentelemetry_configurator"):
        names = [entry.name for entry in importlib.metadata.entry_points(group=group)]
        assert names.count("otel_search") == 1


def test_what_the_interpreter_starts_for_itself_sends_nothing() -> None:
    with serve("telling:app", "--workers", "2", "--timeout-worker-healthcheck", "60") as service:
        eventually(lambda: len(service.events(event="Application startup complete.")) == 2)
        service.get("/items/1")
        service.stop()
        ids = {point.resource["service.instance.id"] for point in service.recording.metrics}
        assert len(ids) == 3  # two workers and their supervisor, and not multiprocessing's resource tracker
