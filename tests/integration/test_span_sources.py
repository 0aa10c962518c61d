"""Who makes the server span, and whether there are access lines: as the settings say, whatever else is installed."""

from __future__ import annotations

import pytest

from tests import seen
from tests.service import eventually, serve

PATHS = ["/item/1", "/mounted/list/2", "/boom", "/none"]


@pytest.mark.parametrize("source", ["auto", "contrib"])
def test_a_request_is_one_span_and_one_count(source: str) -> None:
    with serve("ids:app", env={"OTEL_SEARCH_FASTAPI": source}) as service:
        answers = [service.get(path) for path in PATHS]
        for response in answers:
            span = seen.server_span(service, response)
            own = [one for one in service.recording.trace(span.trace_id) if one.name != "child"]
            assert own == [span]
            assert span.scope == ("fastapi" if source == "auto" else "opentelemetry.instrumentation.fastapi")
        assert seen.server_span(service, answers[1]).name == "GET /mounted/list/{item}"
        (event,) = seen.server_span(service, answers[2]).events
        assert event.attributes["exception.message"] == "boom"
        eventually(lambda: seen.count(service) >= len(PATHS))
        assert seen.count(service) == len(PATHS)
        assert len(eventually(lambda: seen.records(service, body="unhandled exception"))) == 1


def test_switched_off_there_is_no_span_but_all_the_rest() -> None:
    with serve("ids:app", env={"OTEL_SEARCH_FASTAPI": "off"}) as service:
        for path in PATHS:
            response = service.get(path)
            assert "x-trace-id" not in response.headers
            line = seen.access_line(service, response)
            assert line["http.response.status_code"] == response.status_code
            assert "trace_id" not in line
        assert service.event(event="unhandled exception")["exception.message"] == "boom"
        eventually(lambda: seen.records(service, body="request completed", **{"url.path": PATHS[-1]}))
        assert [span for span in service.recording.spans if span.kind == "SERVER"] == []
        assert seen.points(service) == []


def test_an_application_that_calls_contrib_itself_is_counted_once() -> None:
    with serve("by_hand:app") as service:
        answers = {path: service.get(path) for path in ("/item/1", "/mounted/list/2", "/boom")}
        for path, response in answers.items():
            span = seen.server_span(service, response)
            assert service.recording.trace(span.trace_id) == [span], path
            assert seen.access_line(service, response)["trace_id"] == span.trace_id
        span = seen.server_span(service, answers["/boom"])
        assert (span.status, len(span.events)) == ("ERROR", 1)
        assert "M4rk3r" not in repr(span)
        eventually(lambda: seen.count(service) >= 3)
        assert seen.count(service) == 3


@pytest.mark.parametrize(
    ("setting", "arguments", "events"),
    [
        ("", [], ["request completed"]),
        ("", ["--no-access-log"], []),
        ("end", ["--no-access-log"], ["request completed"]),
        ("both", [], ["request started", "request completed"]),
        ("off", [], []),
    ],
)
def test_access_lines(setting: str, arguments: list[str], events: list[str]) -> None:
    with serve("ids:app", *arguments, env={"OTEL_SEARCH_ACCESS_LOG": setting}) as service:
        response = service.get("/item/1")
        eventually(lambda: service.events(event="in the route"))
        seen.server_span(service, response)
        written = [
            event["event"] for event in service.events() if event["logger"] in ("otel_search.access", "uvicorn.access")
        ]
        assert written == events


@pytest.mark.parametrize(("setting", "lines"), [("", ["/boom"]), ("end", ["/item/1", "/boom"])])
def test_a_server_that_writes_no_more_than_warnings_has_lines_of_what_failed(setting: str, lines: list[str]) -> None:
    with serve("by_hand:app", "--log-level", "warning", env={"OTEL_SEARCH_ACCESS_LOG": setting}) as service:
        for path in ("/item/1", "/boom"):
            seen.server_span(service, service.get(path))
        eventually(lambda: service.events(event="request completed", **{"url.path": "/boom"}))
        assert [event["url.path"] for event in service.events(event="request completed")] == lines
