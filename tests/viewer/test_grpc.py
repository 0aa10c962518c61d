"""OTLP over gRPC, by the real exporters and by a bare channel."""

from __future__ import annotations

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_search.viewer import Viewer
from tests.viewer.telemetry import search


@pytest.fixture(scope="module")
def viewer():
    with Viewer(port=0, otlp_port=0, grpc_port=0) as viewer:
        yield viewer


@pytest.fixture
def service(viewer):
    with grpc.insecure_channel(viewer.grpc_endpoint.removeprefix("http://")) as channel:
        yield trace_service_pb2_grpc.TraceServiceStub(channel)


def test_what_the_exporters_send_is_kept(viewer):
    options = {"endpoint": viewer.grpc_endpoint, "insecure": True, "compression": grpc.Compression.Gzip}
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**options)))
    with tracing.get_tracer("test").start_as_current_span("by gRPC"):
        logging = LoggerProvider()
        logging.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**options)))
        logging.get_logger("test").emit(body="a line by gRPC")
    metering = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(**options))])
    metering.get_meter("test").create_counter("by.grpc").add(3)
    for provider in (tracing, logging, metering):
        provider.shutdown()
    assert viewer.store.flush()
    read = viewer.store.read()
    assert tuple(read.execute("SELECT name FROM spans").fetchone()) == ("by gRPC",)
    assert tuple(
        read.execute("SELECT body, trace_id = traces.trace_id FROM logs JOIN traces USING (trace_id)").fetchone()
    ) == (
        "a line by gRPC",
        1,
    )
    assert tuple(read.execute("SELECT value FROM points").fetchone()) == (3.0,)


def test_a_bad_request_is_refused_with_a_reason(service):
    _, request = search()
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    with pytest.raises(grpc.RpcError) as raised:
        service.Export(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "trace_id has 5 bytes; accepted: 16" in raised.value.details()


def test_a_sender_is_told_to_come_again_when_too_much_is_waiting(viewer, service):
    _, request = search()
    store = viewer.store
    with store._changed:
        store._waiting += 2 * store._max_queue
    with pytest.raises(grpc.RpcError) as raised:
        service.Export(request)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    with store._changed:
        store._waiting -= 2 * store._max_queue
    service.Export(request)


def test_a_span_that_is_too_large_is_rejected_alone(service):
    _, request = search(more={"huge": "x" * 2_000_000})
    partial = service.Export(request).partial_success
    assert partial.rejected_spans == 1
