"""Whether the telemetry shows what the load did: nothing missing, and nothing twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_search import semconv

if TYPE_CHECKING:
    from otel_search.demo.load import Outcome
    from otel_search.viewer.recording import Recording
    from otel_search.viewer.telemetry import MetricPoint, Span

HTTP_DURATION = "http.server.request.duration"
PROBE = "/health"
LogLine = Mapping[str, Any]


def missing(
    outcomes: Sequence[Outcome], recording: Recording, lines: Iterable[LogLine], service_name: str
) -> list[str]:
    """What the telemetry should show and does not.

    Args:
        outcomes: What the load did.
        recording: What the service has sent.
        lines: The log lines of its stdout.
        service_name: Its `service.name`; what others send is not looked at.

    Returns:
        One sentence for each fault; empty if all is there.
    """
    spans: dict[str, list[Span]] = defaultdict(list)
    for span in recording.spans:
        spans[span.trace_id].append(span)
    sent = Counter(
        (record.trace_id, record.attributes.get(semconv.LOG_REQUEST_ID))
        for record in recording.logs
        if record.body == semconv.REQUEST_COMPLETED
    )
    written = Counter(
        (line.get(semconv.LOG_TRACE_ID), line.get(semconv.LOG_REQUEST_ID))
        for line in lines
        if line.get(semconv.LOG_EVENT) == semconv.REQUEST_COMPLETED
    )
    faults = []
    untraced = all(not outcome.trace_id for outcome in outcomes)
    if untraced:
        faults.append("no response has an X-Trace-ID header: is the service launched with otel-search?")
    for outcome in outcomes:
        request = outcome.request
        name = f"{request.kind} ({request.method} {request.target})"
        if outcome.status != request.status:
            faults.append(f"{name}: answered {outcome.status} instead of {request.status}")
        if not outcome.trace_id:
            if not untraced:
                faults.append(f"{name}: its response has no X-Trace-ID header")
            continue
        faults += [f"{name}: {fault}" for fault in _faults_of_trace(outcome, spans[outcome.trace_id])]
        ids = (outcome.trace_id, outcome.request_id)
        if sent[ids] != 1:
            faults.append(f"{name}: {sent[ids]} access records over OTLP with its trace id instead of 1")
        if written[ids] != 1:
            faults.append(f"{name}: {written[ids]} access lines on stdout with its trace id instead of 1")
    if any(span.attributes.get(semconv.URL_PATH) == PROBE for span in recording.spans):
        faults.append(f"there are spans of {PROBE}, which is a probe")
    return faults + list(_faults_of_metrics(outcomes, recording, service_name))


def _faults_of_trace(outcome: Outcome, spans: Sequence[Span]) -> Iterator[str]:
    request = outcome.request
    servers = [span for span in spans if span.kind == "SERVER"]
    if len(servers) != 1:
        yield f"{len(servers)} server spans in its trace instead of 1"
        return
    (server,) = servers
    for attribute, expected in (
        (semconv.HTTP_REQUEST_METHOD, request.method),
        (semconv.HTTP_ROUTE, request.route),
        (semconv.HTTP_RESPONSE_STATUS_CODE, request.status),
    ):
        if server.attributes.get(attribute) != expected:
            yield f"{attribute} is {server.attributes.get(attribute)!r} instead of {expected!r}"
    calls = [span for span in spans if is_call(span)]
    if len(calls) != request.calls:
        yield f"{len(calls)} Elasticsearch spans in its trace instead of {request.calls}"
    parents = {span.span_id: span.parent_span_id for span in spans}
    for call in calls:
        ancestor = call.parent_span_id
        while ancestor and ancestor != server.span_id:
            ancestor = parents.get(ancestor, "")
        if not ancestor:
            yield f"the Elasticsearch span {call.name!r} is not beneath the server span"


def is_call(span: Span) -> bool:
    """Whether a span is a call of Elasticsearch."""
    return span.kind == "CLIENT" and span.attributes.get(semconv.DB_SYSTEM) == semconv.ELASTICSEARCH


def of_service(points: Iterable[MetricPoint], service_name: str) -> list[MetricPoint]:
    """The points that the service itself has sent."""
    return [point for point in points if point.resource.get("service.name") == service_name]


def _faults_of_metrics(outcomes: Sequence[Outcome], recording: Recording, service_name: str) -> Iterator[str]:
    expected = Counter((outcome.request.method, outcome.request.route, outcome.request.status) for outcome in outcomes)
    counted: Counter[tuple[Any, Any, Any]] = Counter()
    for point in of_service(recording.latest(HTTP_DURATION), service_name):
        attributes = point.attributes
        counted[
            attributes.get(semconv.HTTP_REQUEST_METHOD),
            attributes.get(semconv.HTTP_ROUTE),
            attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE),
        ] += point.count
    for (method, route, status), count in expected.items():
        if counted[method, route, status] != count:
            found = counted[method, route, status]
            yield f"{HTTP_DURATION} counts {found} requests {method} {route} with {status} instead of {count}"
    calls = sum(outcome.request.calls for outcome in outcomes)
    name = semconv.DB_OPERATION_DURATION.name
    measured = sum(point.count for point in of_service(recording.latest(name), service_name))
    if measured < calls:
        yield f"{name} counts {measured} calls; the load made {calls}"
