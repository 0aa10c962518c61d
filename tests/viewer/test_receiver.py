"""The receiver against the real OTLP exporters, and against what no exporter sends."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import threading
import zlib

import httpx
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode

from otel_search.viewer import otlp
from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording

RESOURCE = Resource.create({"service.name": "shop"})
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"
LIMIT = 100_000


@pytest.fixture(scope="module")
def running():
    recording = Recording()
    with Receiver(recording.add, max_body=LIMIT) as receiver:
        yield receiver, recording


@pytest.fixture
def receiver(running):
    return running[0]


@pytest.fixture
def recording(running):
    running[1].clear()
    return running[1]


def json_span(**fields):
    span = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "I'm a server span", "kind": 2} | fields
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "by hand"}, "spans": [span]}]}]}


def post(receiver, content, path="/v1/traces", headers=PROTOBUF):
    return httpx.post(receiver.endpoint + path, content=content, headers=headers)


# -- what exporters send ----------------------------------------------------------------------


@pytest.mark.parametrize("compression", list(Compression))
def test_a_span_of_the_sdk_arrives_whole(receiver, recording, compression):
    provider = TracerProvider(resource=RESOURCE)
    exporter = OTLPSpanExporter(receiver.endpoint + "/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test.scope", "1.2")
    with tracer.start_as_current_span("parent") as parent:
        link = Link(parent.get_span_context(), {"why": "because"})
        attributes = {"text": "ü", "number": 7, "ratio": 0.5, "yes": True, "list": ["a", "b"]}
        with tracer.start_as_current_span("child", kind=SpanKind.CLIENT, attributes=attributes, links=[link]) as child:
            child.add_event("happened", {"n": 1})
            child.set_status(StatusCode.ERROR, "broken")
    provider.shutdown()

    child, parent = recording.spans
    assert (child.name, child.kind, child.status, child.status_message) == ("child", "CLIENT", "ERROR", "broken")
    assert child.attributes == attributes
    assert child.resource["service.name"] == "shop"
    assert (child.scope, child.scope_version) == ("test.scope", "1.2")
    assert len(child.trace_id) == 32
    assert len(child.span_id) == 16
    assert (child.trace_id, child.parent_span_id) == (parent.trace_id, parent.span_id)
    assert parent.parent_span_id == ""
    assert 0 < child.duration < 10
    assert [(event.name, event.attributes) for event in child.events] == [("happened", {"n": 1})]
    assert [(link.span_id, link.attributes) for link in child.links] == [(parent.span_id, {"why": "because"})]
    assert recording.trace(parent.trace_id) == [parent, child]


def test_metrics_of_the_sdk_arrive_with_their_exemplars(receiver, recording):
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(receiver.endpoint + "/v1/metrics"))
    meters = MeterProvider([reader], resource=RESOURCE)
    meter = meters.get_meter("test.scope")
    counter = meter.create_counter("hits", unit="{hit}", description="Hits.")
    histogram = meter.create_histogram("took", unit="s", explicit_bucket_boundaries_advisory=(1.0, 2.0))
    meter.create_observable_gauge("level", [lambda _options: [_observation(42)]])
    with TracerProvider().get_tracer("t").start_as_current_span("measured") as span:
        counter.add(2, {"route": "/a"})
        histogram.record(1.5)
        histogram.record(3.0)
    meters.force_flush()
    counter.add(3, {"route": "/a"})
    meters.shutdown()

    (hits,) = recording.latest("hits")
    assert (hits.kind, hits.unit, hits.description, hits.value) == ("sum", "{hit}", "Hits.", 5)
    assert (hits.temporality, hits.monotonic, hits.attributes) == ("CUMULATIVE", True, {"route": "/a"})
    assert [point.value for point in recording.metrics if point.name == "hits"] == [2, 5]
    (took,) = recording.latest("took")
    assert (took.count, took.value, took.bounds, took.buckets) == (2, 4.5, (1.0, 2.0), (0, 1, 1))
    points = [point for point in recording.metrics if point.name == "took"]
    trace_ids = {exemplar.trace_id for point in points for exemplar in point.exemplars}
    assert trace_ids == {f"{span.get_span_context().trace_id:032x}"}
    (level,) = recording.latest("level")
    assert (level.kind, level.value) == ("gauge", 42)


def _observation(value):
    from opentelemetry.metrics import Observation

    return Observation(value)


def test_log_records_of_the_sdk_arrive_with_the_ids_of_their_span(receiver, recording):
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(receiver.endpoint + "/v1/logs")))
    with TracerProvider().get_tracer("t").start_as_current_span("logging") as span:
        provider.get_logger("test.scope").emit(
            LogRecord(
                timestamp=1,
                severity_text="WARN",
                severity_number=SeverityNumber.WARN,
                body={"message": "low stock"},
                attributes={"sku": "A-1"},
            )
        )
    provider.shutdown()

    (record,) = recording.logs
    context = span.get_span_context()
    assert (record.trace_id, record.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (record.severity, record.severity_number, record.body) == ("WARN", 13, {"message": "low stock"})
    assert (record.attributes, record.resource["service.name"]) == ({"sku": "A-1"}, "shop")


def test_json_has_hexadecimal_ids_numbers_as_text_and_is_answered_in_json(receiver, recording):
    span = json_span(
        parentSpanId="EEE19B7EC3C1B173",
        startTimeUnixNano="1544712660000000000",
        endTimeUnixNano="1544712661000000000",
        attributes=[{"key": "traceId", "value": {"intValue": "9007199254740993"}}],
        newField={"of": "a later version"},
    )
    answer = post(receiver, json.dumps(span), headers={"content-type": "application/json; charset=utf-8"})
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", {})
    (received,) = recording.spans
    assert (received.trace_id, received.span_id, received.parent_span_id) == (TRACE_ID, SPAN_ID, "eee19b7ec3c1b173")
    assert (received.kind, received.duration, received.attributes) == ("SERVER", 1.0, {"traceId": 9007199254740993})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/traces", ExportTraceServiceRequest()),
        ("/v1/metrics", ExportMetricsServiceRequest()),
        ("/v1/logs", ExportLogsServiceRequest()),
    ],
)
def test_an_empty_export_is_accepted_and_answered_in_protobuf(receiver, path, message):
    answer = post(receiver, message.SerializeToString(), path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()


def test_gzip_in_several_members_is_one_body(receiver, recording):
    body = json.dumps(json_span()).encode()
    packed = gzip.compress(body[:40]) + gzip.compress(body[40:])
    assert post(receiver, packed, headers=JSON | {"content-encoding": "gzip"}).status_code == 200
    assert [span.trace_id for span in recording.spans] == [TRACE_ID]


# -- what no exporter sends -------------------------------------------------------------------


def reason(answer):
    if answer.headers["content-type"] == "application/json":
        return answer.json()["message"]
    assert answer.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(answer.content).message


def _deep(levels):
    value = {"stringValue": "bottom"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        (PROTOBUF, b"\xff\xff\xff not protobuf", 400, "no ExportTraceServiceRequest"),
        (PROTOBUF, b"\n\x7f truncated", 400, "no ExportTraceServiceRequest"),
        (JSON, b'{"resourceSpans": [', 400, "not JSON"),
        (JSON, b"[]", 400, "accepted: an object"),
        (JSON, b'{"resourceSpans": {"a": 1}}', 400, "resourceSpans"),
        (JSON, b'{"resourceSpans":' + 50_000 * b"[", 400, "not JSON"),
        (JSON, json.dumps(json_span(attributes=[{"key": "deep", "value": _deep(300)}])).encode(), 400, "recursion"),
        (JSON, json.dumps(json_span(traceId="abc")).encode(), 400, "32 hexadecimal digits"),
        (JSON, json.dumps(json_span(spanId="g" * 16)).encode(), 400, "16 hexadecimal digits"),
        (JSON, json.dumps(json_span(startTimeUnixNano="soon")).encode(), 400, "startTimeUnixNano"),
        ({"content-type": "text/plain"}, b"{}", 415, "'text/plain'; accepted: application/x-protobuf, application"),
        ({}, b"{}", 415, "content type ''"),
        (JSON | {"content-encoding": "br"}, b"{}", 415, "'br'; accepted: identity, gzip, deflate"),
        (JSON | {"content-encoding": "gzip"}, b"not gzip", 400, "cannot be decompressed"),
        (JSON | {"content-encoding": "gzip"}, gzip.compress(b"{}")[:-4], 400, "ends too early"),
        (JSON | {"content-encoding": "gzip"}, gzip.compress(b"{}") + b"more", 400, "cannot be decompressed"),
        (JSON, (LIMIT + 1) * b" ", 413, f"more than {LIMIT} bytes"),
        (JSON | {"content-encoding": "gzip"}, gzip.compress(100 * LIMIT * b" "), 413, f"more than {LIMIT} bytes"),
        (JSON | {"content-encoding": "deflate"}, zlib.compress(100 * LIMIT * b" "), 413, f"more than {LIMIT} bytes"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason_and_not_recorded(
    receiver, recording, headers, body, status, words
):
    answer = post(receiver, body, headers=headers)
    assert answer.status_code == status
    assert words in reason(answer)
    assert recording.spans == []


def test_ids_of_a_wrong_length_are_refused_in_protobuf_too(receiver, recording):
    for place, message in _with_short_ids():
        answer = post(receiver, message.SerializeToString(), place)
        assert answer.status_code == 400
        assert reason(answer) == "span_id has 3 bytes; accepted: 8"
    assert (recording.spans, recording.logs, recording.metrics) == ([], [], [])


def _with_short_ids():
    spans = ExportTraceServiceRequest()
    spans.resource_spans.add().scope_spans.add().spans.add(span_id=b"abc")
    yield "/v1/traces", spans
    links = ExportTraceServiceRequest()
    links.resource_spans.add().scope_spans.add().spans.add().links.add(span_id=b"abc")
    yield "/v1/traces", links
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(span_id=b"abc")
    yield "/v1/logs", logs
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.histogram.data_points.add().exemplars.add(span_id=b"abc")
    yield "/v1/metrics", metrics


def test_a_body_that_never_ends_is_cut_off(receiver):
    def endless():
        while True:
            yield 10_000 * b" "

    with httpx.Client() as client:
        try:
            answer = client.post(receiver.endpoint + "/v1/traces", content=endless(), headers=JSON)
        except httpx.WriteError:
            return  # the receiver closed the connection before its answer could be read
    assert answer.status_code == 413


def test_a_sender_that_hangs_up_in_the_middle_leaves_the_receiver_well(receiver, recording, caplog):
    with caplog.at_level(logging.ERROR), socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
    assert post(receiver, json.dumps(json_span()), headers=JSON).status_code == 200
    assert caplog.records == []


def test_other_methods_and_paths_are_refused(receiver):
    assert httpx.get(receiver.endpoint + "/v1/traces").status_code == 405
    assert post(receiver, b"", "/v1/profiles").status_code == 404


JSON_NAMES = [
    "resourceSpans",
    "resource",
    "scopeSpans",
    "spans",
    "name",
    "kind",
    "status",
    "traceId",
    "spanId",
    "startTimeUnixNano",
    "events",
    "links",
    "attributes",
    "key",
    "value",
    "arrayValue",
    "values",
    "bytesValue",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(JSON_NAMES),
            inner,
            max_size=3,
        )
    ),
    max_leaves=15,
)


@given(json_values)
@settings(max_examples=300, deadline=None)
def test_any_json_is_decoded_or_refused_and_raises_nothing_else(document):
    wrapped = [document, {"resourceSpans": [{"scopeSpans": [{"spans": [document]}]}]}]
    for candidate in wrapped:
        with contextlib.suppress(otlp.MalformedError):
            otlp.decode(otlp.ENDPOINTS[0], otlp.JSON, json.dumps(candidate).encode())


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_decoded_or_refused_and_raise_nothing_else(body):
    for endpoint in otlp.ENDPOINTS:
        with contextlib.suppress(otlp.MalformedError):
            otlp.decode(endpoint, otlp.PROTOBUF, body)


# -- the server and the recording -------------------------------------------------------------


def test_stopping_frees_the_port_and_ends_the_thread():
    with Receiver(lambda _request: None) as first:
        port = first.port
        with pytest.raises(OSError, match=rf"cannot receive OTLP on 127\.0\.0\.1:{port}: Address already in use"):
            Receiver(lambda _request: None, port=port)
    assert not first._thread.is_alive()
    with Receiver(lambda _request: None, port=port) as again:
        assert post(again, b"").status_code == 200


def test_waiting_returns_what_was_waited_for_and_says_what_came_instead(receiver, recording):
    threading.Timer(0.05, post, [receiver, json.dumps(json_span(name="awaited")), "/v1/traces", JSON]).start()
    (span,) = recording.wait_for(lambda seen: [span for span in seen.spans if span.name == "awaited"])
    assert span.trace_id == TRACE_ID
    with pytest.raises(TimeoutError, match=r"received: 1 spans \(awaited\), 0 log records, 0 points"):
        recording.wait_for(lambda seen: seen.logs, timeout=0.05)


def test_a_recording_forgets_the_oldest_and_counts_it():
    recording = Recording(limit=3)
    for number in range(5):
        body = json.dumps(json_span(name=f"span {number}")).encode()
        recording.add(otlp.decode(otlp.ENDPOINTS[0], otlp.JSON, body))
    assert [span.name for span in recording.spans] == ["span 2", "span 3", "span 4"]
    assert recording.dropped == 2
