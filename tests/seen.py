"""What a service has shown of one request: its server span, its access line, its metric points."""

from __future__ import annotations

from typing import Any

import fastapi
import httpx

from otel_search.viewer.telemetry import LogRecord, MetricPoint, Span
from tests.service import Service, eventually

NATIVE = "telemetry" in fastapi.FastAPI.__init__.__annotations__
"""Whether this lane's FastAPI makes the server span; else contrib does."""

DURATION = "http.server.request.duration"
ACTIVE = "http.server.active_requests"


def server_span(service: Service, response: httpx.Response) -> Span:
    """The one server span of the trace that the response names."""
    return server_span_of(service, response.headers["x-trace-id"])


def server_span_of(service: Service, trace_id: str) -> Span:
    spans = service.recording.wait_for(lambda seen: [span for span in seen.trace(trace_id) if span.kind == "SERVER"])
    assert len(spans) == 1, spans
    return spans[0]


def access_line(service: Service, response: httpx.Response, event: str = "request completed") -> dict[str, Any]:
    """The one access line of the request that the response names."""
    return service.event(event=event, request_id=response.headers["x-request-id"])


def records(service: Service, **where: Any) -> list[LogRecord]:
    """The log records that have arrived with these attributes, `body` or `trace_id`."""
    return [
        record
        for record in service.recording.logs
        if all(getattr(record, key, record.attributes.get(key)) == value for key, value in where.items())
    ]


def points(service: Service, name: str = DURATION, **where: Any) -> list[MetricPoint]:
    """The last point of each series of a metric that has these attributes; `_` stands for `.` in a key."""
    return [
        point
        for point in service.recording.latest(name)
        if all(point.attributes.get(key.replace("__", ".")) == value for key, value in where.items())
    ]


def count(service: Service, name: str = DURATION, **where: Any) -> int:
    """How many requests the points with these attributes have counted."""
    return sum(point.count for point in points(service, name, **where))


def eventually_counted(service: Service, number: int, name: str = DURATION, **where: Any) -> None:
    """Wait until exactly `number` requests are counted under these attributes."""
    eventually(lambda: count(service, name, **where) >= number)
    assert count(service, name, **where) == number, points(service, name, **where)
