"""Telemetry for the viewer's tests, as a service of ours would send it."""

from __future__ import annotations

import itertools
import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PROTOBUF = {"content-type": "application/x-protobuf"}
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
QUERY = '{"query":{"match":{"name":"?"}}}'

_ids = itertools.count(1)


def value_of(value):
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[value_of(item) for item in value]))
    return AnyValue(string_value=value)


def pairs(attributes):
    return [KeyValue(key=name, value=value_of(value)) for name, value in attributes.items()]


def trace_id(number):
    return number.to_bytes(16, "big")


def search(
    text="shoes",
    *,
    number=None,
    service="shop",
    start=None,
    duration=20,
    took=0.004,
    status=200,
    route="/products/search",
    more=None,
):
    """A request with one Elasticsearch search beneath it; its trace id in hexadecimal digits, and the export request.

    Args:
        duration: Of the request in milliseconds; the search has all but 2 of them.
        more: Attributes of the search.
    """
    number = next(_ids) if number is None else number
    start = time.time_ns() - duration * MILLISECOND if start is None else start
    failed = status >= 500
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(pairs({"service.name": service, "service.instance.id": "i-1"}))
    spans = group.scope_spans.add().spans
    spans.add(
        trace_id=trace_id(number),
        span_id=b"\1" * 8,
        name=f"GET {route}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + duration * MILLISECOND,
        status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
        attributes=pairs(
            {
                "http.request.method": "GET",
                "http.route": route,
                "http.response.status_code": status,
                "url.query": f"q={text}",
            }
        ),
    )
    spans.add(
        trace_id=trace_id(number),
        span_id=b"\2" * 8,
        parent_span_id=b"\1" * 8,
        name="search products",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start + MILLISECOND,
        end_time_unix_nano=start + max(duration - 1, 1) * MILLISECOND,
        attributes=pairs(
            {
                "db.system.name": "elasticsearch",
                "db.operation.name": "search",
                "db.collection.name": "products",
                "server.address": "127.0.0.1",
                "http.request.method": "POST",
                "url.full": "http://127.0.0.1:9200/products/_search",
                "db.query.text": QUERY,
                "search.query.hash": "00000000c0ffee00",
                "search.query.type": "match",
                "search.took": took,
                "search.hits.total": 50,
                "search.outcome": "hits",
                "search.shards.total": 1,
            }
            | (more or {})
        ),
    )
    return trace_id(number).hex(), request


def lines(*bodies, trace="", severity=9, logger="shop.search", service="shop", **attributes):
    """Log records."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(pairs({"service.name": service}))
    scope = group.scope_logs.add()
    scope.scope.name = logger
    for body in bodies:
        scope.log_records.add(
            time_unix_nano=time.time_ns(),
            trace_id=bytes.fromhex(trace),
            severity_number=severity,
            severity_text={9: "INFO", 13: "WARN", 17: "ERROR"}[severity],
            body=value_of(body),
            attributes=pairs(attributes),
        )
    return request


def histogram(buckets, *, name="http.server.request.duration", at=0.0, exemplar="", service="shop", **attributes):
    """One cumulative point, `at` seconds from now, of a histogram with the bounds 0.01, 0.1 and 1."""
    request, metric = _metric(name, "s", service)
    metric.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    now = time.time_ns()
    point = metric.histogram.data_points.add(
        start_time_unix_nano=now - 60 * SECOND,
        time_unix_nano=now + int(at * SECOND),
        count=sum(buckets),
        sum=float(sum(buckets)),
        explicit_bounds=[0.01, 0.1, 1.0],
        bucket_counts=buckets,
        attributes=pairs(attributes),
    )
    if exemplar:
        point.exemplars.add(time_unix_nano=now, as_double=0.5, trace_id=bytes.fromhex(exemplar), span_id=b"\1" * 8)
    return request


def gauge(value, *, name="search.health.status", unit="1", at=0.0, service="shop", **attributes):
    """One point of a gauge, `at` seconds from now."""
    request, metric = _metric(name, unit, service)
    metric.gauge.data_points.add(
        time_unix_nano=time.time_ns() + int(at * SECOND), as_double=value, attributes=pairs(attributes)
    )
    return request


def counter(value, *, name, at=0.0, service="shop", **attributes):
    """One cumulative point of a counter, `at` seconds from now."""
    request, metric = _metric(name, "{search}", service)
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    now = time.time_ns()
    metric.sum.data_points.add(
        start_time_unix_nano=now - 60 * SECOND,
        time_unix_nano=now + int(at * SECOND),
        as_double=value,
        attributes=pairs(attributes),
    )
    return request


def _metric(name, unit, service):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(pairs({"service.name": service, "service.instance.id": "i-1"}))
    return request, group.scope_metrics.add().metrics.add(name=name, unit=unit)
