"""Health checks and what users exclude: no trace, no metric, no line, but a failure that is seen."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests import seen
from tests.elasticsearch.scripted import ScriptedServer
from tests.service import Service, eventually, serve

PROBES = ["/health", "/health/", "/health/live", "/healthz", "/ready", "/metrics"]
LOOK_ALIKES = {
    "/items/healthy": "/items/healthy",
    "/api/metrics-report": "/api/metrics-report",
    "/healthy-recipes": "/healthy-recipes",
    "/health/articles/7": "/health/articles/{article}",
    "/live-search": "/live-search",
    "/readyness": "/readyness",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(engine: ScriptedServer) -> Iterator[Service]:
    with serve("probes:app", env={"ELASTICSEARCH_URL": engine.url}) as running:
        yield running


def test_probes_leave_nothing_and_look_alikes_everything(service: Service, engine: ScriptedServer) -> None:
    with httpx.Client(base_url=service.url, follow_redirects=True) as client:
        for _ in range(10):
            for path in PROBES:
                response = client.get(path)
                assert response.status_code == 200
                assert "x-request-id" in response.headers
                assert "x-trace-id" not in response.headers
            client.get("/ready", headers={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
        answers = {path: client.get(path) for path in LOOK_ALIKES}
    assert len(engine.requests) >= 10 * len(PROBES)

    traces = set()
    for path, route in LOOK_ALIKES.items():
        span = seen.server_span(service, answers[path])
        traces.add(span.trace_id)
        service.recording.wait_for(lambda all_, span=span: len(all_.trace(span.trace_id)) >= 3)
        kinds = sorted(one.kind for one in service.recording.trace(span.trace_id))
        assert (span.name, kinds) == (f"GET {route}", ["CLIENT", "INTERNAL", "SERVER"])
        assert seen.access_line(service, answers[path])["http.route"] == route
        seen.eventually_counted(service, 1, http__route=route)

    # Spans of the probes would have been exported before those of the look-alikes.
    assert {span.trace_id for span in service.recording.spans} == traces
    assert {point.attributes["http.route"] for point in seen.points(service)} == set(LOOK_ALIKES.values())
    calls = seen.points(service, "db.client.operation.duration")
    assert sum(point.count for point in calls) == len(LOOK_ALIKES)
    eventually(lambda: sum(point.value for point in seen.points(service, seen.ACTIVE)) == 0)
    assert {line["url.path"] for line in service.events(event="request completed")} == set(LOOK_ALIKES)


def test_a_failing_probe_says_so_once_and_once_more_when_it_recovers(service: Service) -> None:
    def lines() -> list[tuple[str, str, int | None]]:
        return [
            (line["event"], line["level"], line["http.response.status_code"])
            for line in service.events(**{"logger": "otel_search.access", "url.path": "/ready"})
        ]

    httpx.post(service.url + "/mode/unavailable")
    assert [service.get("/ready").status_code for _ in range(4)] == [503] * 4
    assert eventually(lines) == [("probe fails", "warning", 503)]
    httpx.post(service.url + "/mode/well")
    assert [service.get("/ready").status_code for _ in range(4)] == [200] * 4
    assert eventually(lambda: lines()[1:]) == [("probe succeeds again", "info", 200)]

    # What a probe logs itself is the application's: every event, on stdout and by OTLP.
    for source in ("structlog", "logging"):
        assert len(service.events(at_least=4, event="not ready", probe=source)) == 4
        eventually(lambda source=source: len(seen.records(service, body="not ready", probe=source)) == 4)


def test_a_probe_that_raises_is_one_event_until_it_recovers(service: Service) -> None:
    for expected in (1, 2):
        httpx.post(service.url + "/mode/raise")
        assert [service.get("/ready").status_code for _ in range(4)] == [500] * 4
        httpx.post(service.url + "/mode/well")
        service.get("/ready")
        assert len(service.events(at_least=expected, event="unhandled exception")) == expected
    assert service.error_lines == []
    assert not [line for line in service.lines if "Exception in ASGI" in line]


@pytest.mark.parametrize(
    ("env", "silent", "loud"),
    [
        (
            {"OTEL_PYTHON_EXCLUDED_URLS": r"internal/.*, ^http://127\.0\.0\.1:\d+/ping$"},
            ["/internal/state", "/ping", "/health"],
            ["/items/healthy"],
        ),
        (
            {"OTEL_PYTHON_EXCLUDED_URLS": "items", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "ping"},
            ["/ping", "/health"],
            ["/items/healthy", "/internal/state"],
        ),
    ],
    ids=["for all instrumentations", "for FastAPI, in its place"],
)
def test_excluded_urls_are_honoured_as_upstream_does(
    engine: ScriptedServer, env: dict[str, str], silent: list[str], loud: list[str]
) -> None:
    with serve("probes:app", env={"ELASTICSEARCH_URL": engine.url, **env}) as service:
        for path in silent:
            assert "x-trace-id" not in service.get(path + "?items=1&ping=2").headers
        answers = {path: service.get(path + "?internal/ping") for path in loud}
        traces = {seen.server_span(service, response).trace_id for response in answers.values()}
        assert {span.trace_id for span in service.recording.spans} == traces
        for path, response in answers.items():
            assert seen.access_line(service, response)["url.path"] == path
        assert {line["url.path"] for line in service.events(event="request completed")} == set(loud)
        eventually(lambda: seen.count(service) == len(loud))


def test_a_pattern_that_is_none_costs_one_line(engine: ScriptedServer) -> None:
    env = {"ELASTICSEARCH_URL": engine.url, "OTEL_PYTHON_EXCLUDED_URLS": "health,["}
    with serve("probes:app", env=env) as service:
        response = service.get("/items/healthy")
        assert seen.server_span(service, response).name == "GET /items/healthy"
        eventually(lambda: seen.count(service) == 1)
        (line,) = [event for event in service.events() if "EXCLUDED_URLS" in event["event"]]
        assert line["event"].startswith(
            "OTEL_PYTHON_EXCLUDED_URLS='health,[' is not accepted, using no value; accepted: "
        )
