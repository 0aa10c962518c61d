"""The demo's verdict: it fails for what is missing and for what is there twice."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_search.demo import checks, report
from otel_search.demo.load import Outcome, Request
from otel_search.viewer.recording import Recording

TRACE_ID = bytes(range(16))
SERVER = 1
INTERNAL = 2
CALL = 3
OUTCOME = Outcome(Request(kind="search", target="/s?q=a", route="/s"), 200, TRACE_ID.hex(), "r-1", 0.01)
LINE = {"event": "request completed", "trace_id": TRACE_ID.hex(), "request_id": "r-1"}
SERVER_ATTRIBUTES = {"http.request.method": "GET", "http.route": "/s", "http.response.status_code": 200}


def pairs(attributes):
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in attributes.items()
    ]


def span(number, parent, kind, attributes):
    return Span(
        trace_id=TRACE_ID,
        span_id=bytes([number]) * 8,
        parent_span_id=bytes([parent]) * 8 if parent else b"",
        kind=kind,
        attributes=pairs(attributes),
    )


def server(**changes):
    attributes = SERVER_ATTRIBUTES | {name.replace("_", ".", 1): value for name, value in changes.items()}
    return span(SERVER, None, Span.SPAN_KIND_SERVER, attributes)


def call(number=CALL, parent=INTERNAL):
    return span(number, parent, Span.SPAN_KIND_CLIENT, {"db.system.name": "elasticsearch"})


SPANS = (server(), span(INTERNAL, SERVER, Span.SPAN_KIND_INTERNAL, {}), call())


def recorded(spans=SPANS, records=1, requests=1, calls=1, service="shop"):
    recording = Recording()
    traces = ExportTraceServiceRequest()
    traces.resource_spans.add().scope_spans.add().spans.extend(spans)
    logs = ExportLogsServiceRequest()
    kept = logs.resource_logs.add().scope_logs.add()
    for _ in range(records):
        kept.log_records.add(
            trace_id=TRACE_ID, body=AnyValue(string_value="request completed"), attributes=pairs({"request_id": "r-1"})
        )
    metrics = ExportMetricsServiceRequest()
    resource = metrics.resource_metrics.add()
    resource.resource.attributes.extend(pairs({"service.name": service}))
    for name, count, attributes in (
        ("http.server.request.duration", requests, SERVER_ATTRIBUTES),
        ("db.client.operation.duration", calls, {}),
    ):
        metric = resource.scope_metrics.add().metrics.add(name=name)
        metric.histogram.data_points.add(count=count, attributes=pairs(attributes))
    for request in (traces, logs, metrics):
        recording.add(request)
    return recording


def missing(recording, outcomes=(OUTCOME,), lines=(LINE,)):
    return checks.missing(outcomes, recording, lines, "shop")


def test_what_is_all_there_has_no_fault():
    assert missing(recorded()) == []


@pytest.mark.parametrize(
    ("recording", "fault"),
    [
        (recorded(spans=SPANS[1:]), "0 server spans in its trace instead of 1"),
        (recorded(spans=(*SPANS, server())), "2 server spans in its trace instead of 1"),
        (recorded(spans=(server(http_route="/other"), *SPANS[1:])), "http.route is '/other' instead of '/s'"),
        (recorded(spans=SPANS[:2]), "0 Elasticsearch spans in its trace instead of 1"),
        (recorded(spans=(*SPANS, call(4))), "2 Elasticsearch spans in its trace instead of 1"),
        (recorded(spans=(*SPANS[:2], call(parent=9))), "the Elasticsearch span '' is not beneath the server span"),
        (recorded(spans=(*SPANS, server(url_path="/health"))), "there are spans of /health, which is a probe"),
        (recorded(records=0), "0 access records over OTLP with its trace id instead of 1"),
        (recorded(records=2), "2 access records over OTLP with its trace id instead of 1"),
        (recorded(requests=2), "http.server.request.duration counts 2 requests GET /s with 200 instead of 1"),
        (recorded(calls=0), "db.client.operation.duration counts 0 calls; the load made 1"),
        (recorded(service="other"), "http.server.request.duration counts 0 requests GET /s with 200 instead of 1"),
    ],
)
def test_each_fault_is_named(recording, fault):
    assert any(fault in line for line in missing(recording))


def test_each_fault_of_the_responses_and_of_stdout_is_named():
    assert missing(recorded(), lines=[]) == [
        "search (GET /s?q=a): 0 access lines on stdout with its trace id instead of 1"
    ]
    failed = Outcome(OUTCOME.request, 500, TRACE_ID.hex(), "r-1", 0.01)
    assert missing(recorded(), outcomes=[failed]) == ["search (GET /s?q=a): answered 500 instead of 200"]
    untraced = Outcome(OUTCOME.request, 200, "", "", 0.01)
    assert missing(recorded(requests=2), outcomes=[OUTCOME, untraced]) == [
        "search (GET /s?q=a): its response has no X-Trace-ID header",
        "db.client.operation.duration counts 1 calls; the load made 2",
    ]
    assert missing(recorded(), outcomes=[untraced])[0].startswith("no response has an X-Trace-ID header")


def test_a_quantile_is_the_bound_that_so_many_are_within():
    metrics = ExportMetricsServiceRequest()
    points = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="d").histogram.data_points
    points.add(explicit_bounds=[0.1, 1.0], bucket_counts=[94, 1, 0])
    points.add(explicit_bounds=[0.1, 1.0], bucket_counts=[0, 0, 5], attributes=pairs({"other": "series"}))
    recording = Recording()
    recording.add(metrics)
    series = recording.latest("d")
    assert [report.quantile(series, part) for part in (0.5, 0.94, 0.95, 0.96)] == [
        "100.0 ms",
        "100.0 ms",
        "1.00 s",
        "> 1.00 s",
    ]
