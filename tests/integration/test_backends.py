"""One trace, one metric with its exemplar and one log record travel through the real backends and are read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from tests.backends.collector import Collector
from tests.backends.server import BackendError, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backends.fixtures import Backends

pytestmark = pytest.mark.backends


@dataclass(frozen=True)
class Sent:
    """What one service sent, and the ids it must be found by."""

    service: str
    trace_id: str
    server_span_id: str
    client_span_id: str


def _exporters(protocol: str, backends: Backends) -> tuple[SpanExporter, MetricExporter, LogRecordExporter]:
    if protocol == "grpc":
        url = backends.collector.grpc_url
        return GrpcSpanExporter(url), GrpcMetricExporter(url), GrpcLogExporter(url)
    url = backends.collector.http_url
    return (
        HttpSpanExporter(f"{url}/v1/traces"),
        HttpMetricExporter(f"{url}/v1/metrics"),
        HttpLogExporter(f"{url}/v1/logs"),
    )


@pytest.fixture(scope="module", params=["http", "grpc"])
def sent(request: pytest.FixtureRequest, backends: Backends) -> Iterator[Sent]:
    """A server span with a client span beneath it, a duration recorded and a log record written inside."""
    service = f"backends-check-{request.param}"
    resource = Resource({"service.name": service, "service.instance.id": "one", "service.version": "1.2.3"})
    span_exporter, metric_exporter, log_exporter = _exporters(request.param, backends)
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(span_exporter))
    meters = MeterProvider([PeriodicExportingMetricReader(metric_exporter, 60_000)], resource=resource)
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))

    tracer = tracers.get_tracer("backends.check")
    duration = meters.get_meter("backends.check").create_histogram(
        "http.server.request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.01, 0.1, 1.0]
    )
    with tracer.start_as_current_span(
        "GET /search", kind=SpanKind.SERVER, attributes={"http.route": "/search", "http.response.status_code": 200}
    ) as server_span:
        with tracer.start_as_current_span(
            "search products", kind=SpanKind.CLIENT, attributes={"db.system.name": "elasticsearch"}
        ) as client_span:
            pass
        duration.record(0.05, {"http.route": "/search"})
        loggers.get_logger("backends.check").emit(
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body="search was slow",
            attributes={"search.took": 0.05, "search.hits.total": 42, "tags": ["slow", "search"]},
        )
    server, client = server_span.get_span_context(), client_span.get_span_context()
    assert meters.force_flush()
    yield Sent(
        service=service,
        trace_id=format_trace_id(server.trace_id),
        server_span_id=format_span_id(server.span_id),
        client_span_id=format_span_id(client.span_id),
    )
    for provider in (tracers, meters, loggers):
        provider.shutdown()


def test_jaeger_has_the_trace_with_its_parent_and_kinds(backends: Backends, sent: Sent) -> None:
    server, client = eventually(lambda: backends.jaeger.spans(sent.trace_id), lambda spans: len(spans) == 2)

    assert (server.name, server.kind, server.span_id) == ("GET /search", "server", sent.server_span_id)
    assert (client.name, client.kind, client.span_id) == ("search products", "client", sent.client_span_id)
    assert server.parent_id is None
    assert client.parent_id == sent.server_span_id
    assert server.service == client.service == sent.service
    assert server.attributes["http.response.status_code"] == 200
    assert client.attributes["db.system.name"] == "elasticsearch"
    assert server.resource["service.version"] == "1.2.3"


def test_jaeger_lists_the_service_and_its_traces(backends: Backends, sent: Sent) -> None:
    assert sent.service in eventually(backends.jaeger.services, lambda services: sent.service in services)
    assert list(backends.jaeger.traces(sent.service)) == [sent.trace_id]


def test_jaeger_has_no_spans_for_a_trace_that_was_never_sent(backends: Backends) -> None:
    assert backends.jaeger.spans("0123456789abcdef0123456789abcdef") == []


def test_prometheus_has_the_histogram_with_the_labels_of_its_resource(backends: Backends, sent: Sent) -> None:
    name = f'http_server_request_duration_seconds_bucket{{job="{sent.service}"}}'
    series = eventually(lambda: backends.prometheus.query(name))

    assert {one.labels["le"]: one.value for one in series} == {"0.01": 0, "0.1": 1, "1": 1, "+Inf": 1}
    for one in series:
        assert one.labels["http_route"] == "/search"
        assert one.labels["instance"] == "one"
        assert one.labels["service_name"] == sent.service
        assert one.labels["service_version"] == "1.2.3"


def test_each_metric_arrives_by_one_path_only(backends: Backends, sent: Sent) -> None:
    count = f'http_server_request_duration_seconds_count{{service_name="{sent.service}"}}'

    assert [one.value for one in eventually(lambda: backends.prometheus.query(count))] == [1]


def test_prometheus_exemplar_leads_to_the_trace_in_jaeger(backends: Backends, sent: Sent) -> None:
    name = f'http_server_request_duration_seconds_bucket{{job="{sent.service}"}}'
    [exemplar] = eventually(lambda: backends.prometheus.exemplars(name))

    assert exemplar.labels["trace_id"] == sent.trace_id
    assert exemplar.labels["span_id"] == sent.server_span_id
    assert exemplar.value == 0.05
    assert exemplar.series["le"] == "0.1"
    assert eventually(lambda: backends.jaeger.spans(exemplar.labels["trace_id"]))


def test_collector_writes_the_log_record_with_the_trace_it_belongs_to(backends: Backends, sent: Sent) -> None:
    [record] = eventually(
        lambda: [each for each in backends.collector.log_records() if each.resource["service.name"] == sent.service]
    )

    assert record.body == "search was slow"
    assert (record.severity_text, record.severity_number) == ("WARN", 13)
    assert (record.trace_id, record.span_id) == (sent.trace_id, sent.server_span_id)
    assert record.attributes == {"search.took": 0.05, "search.hits.total": 42, "tags": ["slow", "search"]}
    assert record.scope == "backends.check"


def test_prometheus_watches_itself_the_collector_and_jaeger(backends: Backends) -> None:
    def health() -> dict[str, str]:
        return {job: target["health"] for job, target in backends.prometheus.targets().items()}

    up = {"prometheus": "up", "otelcol": "up", "jaeger": "up"}

    assert eventually(health, lambda state: state == up) == up


def test_collector_counts_what_it_received(backends: Backends, sent: Sent) -> None:
    accepted = 'sum(otelcol_receiver_accepted_spans{job="otelcol"})'

    [total] = eventually(
        lambda: backends.prometheus.query(accepted), lambda series: bool(series) and series[0].value >= 2
    )
    assert total.value >= 2


def test_collector_that_cannot_start_says_why(backends: Backends, tmp_path: Path) -> None:
    collector = Collector(tmp_path, ["exporters/file"], {"COLLECTOR_MEMORY_LIMIT_MIB": "plenty"})

    with pytest.raises(BackendError, match=r"(?s)otelcol-search ended with status 1 instead of starting.*'limit_mib'"):
        collector.start()


def test_a_stopped_backend_is_gone_and_its_log_records_stay(backends: Backends, tmp_path: Path) -> None:
    with Collector(tmp_path, ["exporters/file"], {}) as collector:
        pid = collector.pid
        loggers = LoggerProvider(resource=Resource({"service.name": "stays"}))
        exporter = HttpLogExporter(f"{collector.http_url}/v1/logs")
        loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        loggers.get_logger("backends.check").emit(body="before the end")
        loggers.shutdown()

    assert not Path(f"/proc/{pid}").exists()
    with collector:  # again, on other ports and with the same file
        assert [record.body for record in collector.log_records()] == ["before the end"]
