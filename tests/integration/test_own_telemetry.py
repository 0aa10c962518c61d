"""Applications that set up telemetry themselves: theirs is kept or ignored, said so, and nothing is sent twice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.service import APPS, Service, serve

BY_HAND = "by-the-application"


@contextmanager
def served(own: str, app: str = "own_telemetry:app", **kwargs: Any) -> Iterator[Service]:
    env = {"OWN": own, **kwargs.pop("env", {})}
    with serve(app, env=env, **kwargs) as service:
        for number in range(3):
            assert service.get(f"/items/{number}").status_code == 200
        yield service


def assert_everything_came_once(recording: Recording, service_name: str, requests: int = 3) -> None:
    assert "M4rk3r" not in repr(recording.spans)  # whoever has made the provider
    ids = Counter(span.span_id for span in recording.spans)
    assert set(ids.values()) == {1}
    kinds = Counter(span.name for span in recording.spans if span.kind == "SERVER" or span.scope == "app")
    assert kinds == {"GET /items/{number}": requests, "work": requests}
    assert sum(point.count for point in recording.latest("http.server.request.duration")) == requests
    bodies = Counter(record.body for record in recording.logs if record.scope in ("app", "otel_search.access"))
    assert bodies.pop("request completed") == requests
    assert set(bodies.values()) == {1}
    assert sum(bodies.values()) == requests
    everything = [*recording.spans, *recording.logs, *recording.metrics]
    assert {item.resource["service.name"] for item in everything} == {service_name}


def said(service: Service, text: str) -> list[str]:
    return [event["event"] for event in service.events() if text in event["event"]]


@pytest.mark.parametrize("own", ["providers,contrib", "providers,contrib,contrib"])
def test_own_providers_after_the_launcher_are_ignored_and_said(own: str) -> None:
    with served(own) as service:
        service.stop()
        assert_everything_came_once(service.recording, "test-service")
        for provider in ("TracerProvider", "MeterProvider", "LoggerProvider"):
            assert len(said(service, f"ignored the application's own {provider}: otel-search has set one already")) == 1
        assert len(said(service, "ignored a LoggingHandler of the application's own")) == 1


def test_own_contrib_instrumentation_gives_the_one_server_span() -> None:
    with served("contrib") as service:
        response = service.get("/items/9")
        service.stop()
        assert_everything_came_once(service.recording, "test-service", requests=4)
        trace = service.recording.trace(response.headers["x-trace-id"])
        assert [span.scope for span in trace if span.kind == "SERVER"] == ["opentelemetry.instrumentation.fastapi"]


def test_own_exporters_to_the_same_place_are_ignored_and_said() -> None:
    with served("exporters") as service:
        service.stop()
        assert_everything_came_once(service.recording, "test-service")
        ignored = said(service, "ignored a second exporter of the application's own to http://127.0.0.1:")
        assert sorted(line.split(":")[2].partition("/")[2] for line in ignored) == [
            "v1/logs",
            "v1/metrics",
            "v1/traces",
        ]


def test_fastapis_own_export_beside_the_launcher_is_ignored_and_said() -> None:
    with served("", env={"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}) as service:
        service.stop()
        assert_everything_came_once(service.recording, "test-service")
        assert len(said(service, "ignored a second exporter of the application's own")) == 2  # its logs are off


def test_an_exporter_to_another_place_is_kept() -> None:
    other = Recording()
    with Receiver(other.add) as receiver:
        # The application's exporters read the variable after the launcher did.
        env = {"ELSEWHERE": receiver.endpoint}
        with served("exporters", app="own_elsewhere:app", env=env) as service:
            service.stop()
            assert_everything_came_once(service.recording, "test-service")
            assert_everything_came_once(other, "test-service")
            assert said(service, "ignored") == []


def test_instrumenting_in_code_besides_the_launcher_changes_nothing() -> None:
    with served("instrument,instrument") as service:
        service.stop()
        assert_everything_came_once(service.recording, "test-service")
        noticed = [event for event in service.events() if event["level"] != "info" and event["logger"] != "app"]
        assert noticed == []


def test_in_code_alone_own_providers_are_kept_and_that_is_said() -> None:
    with served("providers,instrument", launcher=False) as service:
        service.stop()
        assert_everything_came_once(service.recording, BY_HAND)
        assert (
            len(said(service, "the application has set up telemetry itself: its providers for traces, metrics, logs"))
            == 1
        )
        assert "telemetry.distro.name" not in service.recording.spans[0].resource


@pytest.mark.parametrize("own", ["instrument", "instrument,instrument"])
def test_in_code_alone_without_providers_everything_is_set_up(own: str) -> None:
    with served(own, launcher=False) as service:
        service.stop()
        assert_everything_came_once(service.recording, "test-service")
        assert service.recording.spans[0].resource["telemetry.distro.name"] == "otel-search"


def test_in_code_in_a_program_that_serves_itself() -> None:
    # The port is the application's to choose: it reads the variable.
    command = ["env", "PORT={port}", sys.executable, str(APPS / "own_telemetry.py")]
    with served("instrument", command=command, launcher=False) as service:
        assert service.stop() == -15
        assert_everything_came_once(service.recording, "test-service")
        assert said(service, "Finished server process")
        assert [record.body for record in service.recording.logs][-1].startswith("Finished server process")


def test_in_code_in_worker_processes_all_that_is_left_arrives_at_the_end() -> None:
    slow = {
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "OTEL_METRIC_EXPORT_INTERVAL": "60000",
    }
    with serve(
        "own_telemetry:app",
        "--workers",
        "2",
        "--timeout-worker-healthcheck",
        "60",
        env={"OWN": "instrument", **slow},
        launcher=False,
    ) as service:
        for number in range(3):
            service.get(f"/items/{number}")
        assert service.stop() == 0
        assert_everything_came_once(service.recording, "test-service")
        bodies = [record.body.split(" [")[0] for record in service.recording.logs]
        assert bodies.count("Finished server process") == 2


def test_two_applications_in_one_process_are_each_instrumented_once() -> None:
    with served("instrument", app="own_telemetry:both") as service:
        for number in range(10, 12):
            response = service.get(f"/other/items/{number}")
            assert response.headers["x-trace-id"]
        service.stop()
        assert_everything_came_once(service.recording, "test-service", requests=5)


def test_an_uninstrumented_application_is_served_as_fastapi_alone_does() -> None:
    with served("instrument,uninstrument") as service:
        response = service.get("/items/9")
        assert not [name for name in response.headers if name.startswith("x-")]
        service.stop()
        server = [span for span in service.recording.spans if span.kind == "SERVER" and "items" in span.name]
        assert len(server) == 4  # FastAPI's own
        assert said(service, "request completed") == []
