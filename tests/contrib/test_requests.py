"""What only contrib's instrumentation can do: spans of messages, old names, captured headers, a call by hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import httpx
import pytest

from otel_search.redaction import marker
from tests import seen
from tests.service import Service, eventually, serve

pytestmark = pytest.mark.contrib


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve("ids:app") as running:
        yield running


def test_a_request_is_one_span_with_stable_names(service: Service) -> None:
    responses = [service.get(path) for path in ("/stream", "/mounted/list/1", "/redirect", "/boom")]
    for response in responses:
        span = seen.server_span(service, response)
        assert service.recording.trace(span.trace_id) == [span]
        assert span.attributes["http.request.method"] == "GET"
        assert span.attributes["url.path"] == response.url.path
        assert span.attributes["http.response.status_code"] == response.status_code
        assert not {"http.method", "http.url", "http.target", "http.status_code", "http.host"} & span.attributes.keys()


def test_metrics_have_stable_names_and_count_mounted_applications_once(service: Service) -> None:
    for number in range(5):
        service.get(f"/mounted/list/{number}")

    def spans() -> int:
        return sum(span.attributes.get("http.route") == "/mounted/list/{item}" for span in service.recording.spans)

    eventually(lambda: seen.count(service, http__route="/mounted/list/{item}") == spans() >= 5)
    names = {point.name for point in service.recording.metrics}
    assert not {"http.server.duration", "http.server.response.size", "http.server.request.size"} & names
    (point,) = seen.points(service, http__route="/mounted/list/{item}")
    assert (point.unit, point.bounds[0], point.attributes["http.response.status_code"]) == ("s", 0.005, 200)
    eventually(lambda: {one.value for one in seen.points(service, seen.ACTIVE)} == {0})


@pytest.fixture(scope="module")
def capturing() -> Iterator[Service]:
    env = {
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "x-mine",
        "OTEL_SEARCH_REDACT_KEYS": "x-customer-pin",
    }
    with serve("careless:app", env=env) as running:
        yield running


def test_credentials_in_captured_headers_are_hidden(capturing: Service) -> None:
    headers = {
        "Authorization": "Bearer M4rk3r0",
        "Cookie": "session=M4rk3r1",
        "X-API-Key": "M4rk3r2",
        "X-Auth-Token": "M4rk3r3",
        "X-Mine": "M4rk3r4",
        "X-Customer-Pin": "M4rk3r5",
        "Referer": "https://shop.example/?token=M4rk3r6&q=1",
        "X-Request-ID": "<M4rk3r7>",
        "X-Harmless": "shown",
    }
    response = capturing.get("/search?token=M4rk3r8", headers=headers)
    assert "M4rk3r1" in response.headers["set-cookie"]
    span = seen.server_span(capturing, response)
    assert span.attributes["http.request.header.x_harmless"] == ["shown"]
    assert span.attributes["http.request.header.referer"] == [f"https://shop.example/?token={marker('token')}&q=1"]
    assert "http.request.header.authorization" in span.attributes
    assert "http.response.header.set_cookie" in span.attributes
    assert "M4rk3r" not in repr(span)


def test_a_call_by_hand_makes_no_second_span_and_keeps_its_secrets() -> None:
    with serve("by_hand:app") as service:
        answers = {path: service.get(path) for path in ("/item/1", "/mounted/list/2", "/boom")}
        for path, response in answers.items():
            span = seen.server_span(service, response)
            assert service.recording.trace(span.trace_id) == [span], path
            assert seen.access_line(service, response)["trace_id"] == span.trace_id
        span = seen.server_span(service, answers["/boom"])
        assert (span.status, len(span.events)) == ("ERROR", 1)
        assert "M4rk3r" not in repr(span)
        eventually(lambda: seen.count(service) == 3)


def test_nothing_is_lost_when_the_server_stops() -> None:
    never = dict.fromkeys(
        ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL"), "60000"
    )
    with serve("ids:app", env=never) as service:
        with httpx.Client(base_url=service.url) as client:
            traces = {client.get(f"/item/{number}").headers["x-trace-id"] for number in range(50)}
        service.stop(signal.SIGTERM)
        recording = service.recording
        assert {span.trace_id for span in recording.spans if span.kind == "SERVER"} == traces
        assert {record.trace_id for record in recording.logs if record.body == "request completed"} == traces
        assert seen.count(service, http__route="/item/{item}") == 50
