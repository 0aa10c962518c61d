"""Unhandled exceptions: one event, one record, one count, and the answer that the bare application gives."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from otel_search.viewer.telemetry import LogRecord
from tests import seen
from tests.elasticsearch.scripted import ScriptedServer
from tests.service import APPS, BIN, Service, eventually, free_port, serve

OURS = {"x-request-id", "x-process-time", "x-trace-id"}
FRAMING = {"date", "connection", "content-length", "transfer-encoding"}


# path, route, the exception that escapes, what the exception event says of it
UNHANDLED = [
    ("/async", "/async", "ValueError", ("ValueError", "in async")),
    ("/sync", "/sync", "ValueError", ("ValueError", "in sync")),
    ("/dependency", "/dependency", "LookupError", ("LookupError", "in dependency")),
    ("/middleware", None, "OSError", ("OSError", "in middleware")),
    ("/function", None, "OSError", ("OSError", "in function-style middleware")),
    ("/late", None, "OSError", ("OSError", "in middleware")),
    (
        "/model",
        "/model",
        "fastapi.exceptions.ResponseValidationError",
        ("fastapi.exceptions.ResponseValidationError", None),
    ),
    ("/unspeakable", "/unspeakable", "failures.UnspeakableError", ("failures.UnspeakableError", None)),
    ("/group", "/group", "ExceptionGroup", ("ExceptionGroup", "several (2 sub-exceptions)")),
    ("/surrogate", "/surrogate", "ValueError", ("ValueError", "half a character: \\ud800")),
    ("/handled/async", "/async", "ValueError", ("ValueError", "in async")),
    ("/handled/sync", "/sync", "ValueError", ("ValueError", "in sync")),
    ("/handled/middleware", None, "OSError", ("OSError", "in middleware")),
    ("/broken/async", "/async", "RuntimeError", ("ValueError", "in async")),
    ("/broken/middleware", None, "RuntimeError", ("OSError", "in middleware")),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(engine: ScriptedServer) -> Iterator[Service]:
    with serve("failures:app", env={"ELASTICSEARCH_URL": engine.url}) as running:
        assert httpx.post(running.url + "/late").text == '"added"'
        yield running


@pytest.fixture(scope="module")
def bare(engine: ScriptedServer) -> Iterator[Service]:
    with serve("failures:app", env={"ELASTICSEARCH_URL": engine.url}, launcher=False) as running:
        httpx.post(running.url + "/late")
        yield running


def exception_records(service: Service, trace_id: str) -> list[LogRecord]:
    return [record for record in seen.records(service, trace_id=trace_id) if "exception.type" in record.attributes]


@pytest.mark.parametrize(("path", "route", "error_type", "event"), UNHANDLED, ids=[case[0] for case in UNHANDLED])
def test_an_unhandled_exception_is_one_event_and_one_record(
    service: Service, bare: Service, path: str, route: str | None, error_type: str, event: tuple[str, str | None]
) -> None:
    if not seen.NATIVE and path != "/function":
        route = path.removeprefix("/handled").removeprefix("/broken")  # asked for before the middleware has run
    labels = {"http__response__status_code": 500, "error__type": error_type, "http__route": route}
    before = seen.count(service, **labels)
    response, without = service.get(path), bare.get(path)

    assert response.status_code == without.status_code == 500
    assert response.content == without.content
    assert {k: v for k, v in response.headers.items() if k not in OURS | FRAMING} == {
        k: v for k, v in without.headers.items() if k not in OURS | FRAMING
    }
    assert set(response.headers) >= OURS

    span = seen.server_span(service, response)
    assert span.status == "ERROR"
    assert span.attributes["http.response.status_code"] == 500
    assert span.attributes["error.type"] == error_type
    assert span.attributes.get("http.route") == route
    (recorded,) = span.events
    kind, message = event
    assert recorded.name == "exception"
    assert recorded.attributes["exception.type"] == kind
    assert message is None or recorded.attributes["exception.message"] == message
    assert recorded.attributes["exception.stacktrace"].startswith(("Traceback", "  + Exception Group Traceback"))

    line = seen.access_line(service, response)
    assert line["level"] == "error"
    assert line["http.response.status_code"] == 500
    assert line["error.type"] == error_type

    (record,) = service.recording.wait_for(lambda _: exception_records(service, span.trace_id))
    assert record.attributes["exception.type"] == error_type
    assert kind.rpartition(".")[2] in record.attributes["exception.stacktrace"]
    (said,) = eventually(
        lambda: [one for one in service.events(trace_id=span.trace_id) if "exception.stacktrace" in one]
    )
    assert said["exception.type"] == error_type
    assert said["request_id"] == response.headers["x-request-id"]

    eventually(lambda: seen.count(service, **labels) == before + 1)


def test_nothing_else_reports_them(service: Service) -> None:
    traces = [service.get(case[0]).headers["x-trace-id"] for case in UNHANDLED]
    service.recording.wait_for(lambda _: all(exception_records(service, trace) for trace in traces))
    assert [trace for trace in traces if len(exception_records(service, trace)) != 1] == []
    assert not [line for line in service.lines if "Exception in ASGI application" in line]
    assert service.error_lines == []


def test_handlers_are_called_once(service: Service, bare: Service) -> None:
    before = service.get("/calls").json()
    for name in ("handled", "broken"):
        service.get(f"/{name}/async")
    after = service.get("/calls").json()
    assert after == {name: calls + 1 for name, calls in before.items()}


def test_a_deliberate_503_is_an_error_without_an_exception(service: Service, bare: Service) -> None:
    response = service.get("/503")
    assert (response.status_code, response.content) == (503, bare.get("/503").content)
    span = seen.server_span(service, response)
    assert (span.status, span.attributes["error.type"], span.events) == ("ERROR", "503", ())
    line = seen.access_line(service, response)
    assert (line["level"], line["error.type"]) == ("error", "503")
    service.recording.wait_for(lambda _: seen.records(service, trace_id=span.trace_id, body="request completed"))
    assert exception_records(service, span.trace_id) == []
    seen.eventually_counted(service, 1, http__route="/503", http__response__status_code=503, error__type="503")


def test_an_exception_after_the_response_is_made_fails_as_in_the_bare_application(
    service: Service, bare: Service
) -> None:
    response, without = service.get("/exit"), bare.get("/exit")
    assert (response.status_code, response.content) == (without.status_code, without.content)
    trace_id = response.headers["x-trace-id"]
    (said,) = eventually(
        lambda: [one for one in service.events(trace_id=trace_id) if one["event"] == "unhandled exception"]
    )
    assert said["exception.type"] == "LookupError"


def test_background_tasks_are_no_part_of_the_request(service: Service, engine: ScriptedServer) -> None:
    response = service.get("/background")
    assert response.status_code == 200
    span = seen.server_span(service, response)
    # Ended, exported, counted and logged while the first task still waits.
    seen.eventually_counted(service, 1, http__route="/background")
    active = eventually(lambda: seen.points(service, seen.ACTIVE))
    assert sum(point.value for point in active) == 0
    assert seen.access_line(service, response)["level"] == "info"
    assert not [request for request in engine.requests if request.method == "PUT"]
    assert span.status == "UNSET"

    service.get("/release")
    call = service.recording.wait_for(
        lambda all_: next((one for one in all_.trace(span.trace_id) if one.kind == "CLIENT"), None)
    )
    assert call.name == "index products"
    assert call.parent_span_id == span.span_id
    (said,) = eventually(
        lambda: [one for one in service.events(trace_id=span.trace_id) if "exception.stacktrace" in one]
    )
    assert said["exception.message"] == "in background"
    assert said["level"] == "error"
    assert seen.count(service, http__route="/background") == 1


def test_an_application_that_cannot_be_prepared_is_served_as_it_is_and_that_is_said_once() -> None:
    with serve("odd:app", ready="/items") as service:
        assert [service.get("/items").text for _ in range(3)] == ['"ok"'] * 3
        line = service.event(level="error")
        assert "is served without telemetry" in line["event"]
        assert "LookupError: no version yet" in line["event"]


def test_an_application_whose_middleware_is_made_at_the_second_attempt_is_instrumented_then() -> None:
    with serve("odd:late", "--lifespan", "off", ready="/nothing") as service:
        assert service.get("/items").status_code == 200
        service.recording.wait_for(lambda seen: [span for span in seen.spans if span.name == "GET /items"])


def failed(recording: Recording, events: list[dict], stage: str) -> None:
    """Whether one event says by what exception the lifespan failed, with its trace and without its secret."""
    (event,) = (event for event in events if "exception.type" in event)
    (record,) = (record for record in recording.logs if "exception.type" in record.attributes)
    assert event["event"] == record.body == f"application {stage} failed"
    assert event["exception.type"] == record.attributes["exception.type"] == "failing_lifespan.UnreachableError"
    assert "in failing_" in event["exception.stacktrace"]
    everything = json.dumps(events) + "".join(f"{each.body}{each.attributes}" for each in recording.logs)
    assert everything.count("Traceback") == 2, "once on stdout, once by OTLP"
    assert "hunter2" not in everything


def test_a_lifespan_that_fails_at_the_start_is_one_event_with_its_exception() -> None:
    recording = Recording()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
    with Receiver(recording.add) as receiver:
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_PYTHON_DISTRO": "otel_search"}
        command = [BIN / "opentelemetry-instrument", BIN / "uvicorn", "failing_lifespan:start"]
        done = subprocess.run(
            [*command, "--port", str(free_port())],
            cwd=APPS,
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (3, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failed(recording, events, "startup")
    assert events[-1]["event"] == "Application startup failed. Exiting."


def test_a_lifespan_that_fails_at_the_end_is_one_event_with_its_exception() -> None:
    with serve("failing_lifespan:end") as service:
        service.stop()
        service.recording.wait_for(lambda seen: [each for each in seen.logs if each.body.startswith("application ")])
        failed(service.recording, service.events(), "shutdown")
