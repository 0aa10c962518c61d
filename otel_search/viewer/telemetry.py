"""Spans, log records and metric points as plain Python, made from OTLP export requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

Attributes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who emitted it: the attributes of the resource, and the instrumentation scope."""

    resource: Attributes
    scope: str
    scope_version: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of a span; time in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link of a span to another one; ids as lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class Span(Origin):
    """A finished span; ids as lower-case hexadecimal digits, times in nanoseconds since the epoch.

    Attributes:
        parent_span_id: Empty for a root span.
        kind: `INTERNAL`, `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `UNSPECIFIED`.
        status: `UNSET`, `OK` or `ERROR`.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start: int
    end: int
    status: str
    status_message: str
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]

    @property
    def duration(self) -> float:
        """In seconds."""
        return (self.end - self.start) / 1e9


@dataclass(frozen=True, kw_only=True)
class LogRecord(Origin):
    """A log record; ids are empty outside of a span, times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    time: int
    observed_time: int
    severity: str
    severity_number: int
    body: Any
    event_name: str
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A measurement behind a point, with the ids of the span that it was made in."""

    trace_id: str
    span_id: str
    value: float
    time: int
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class MetricPoint(Origin):
    """One data point; times in nanoseconds since the epoch.

    Attributes:
        kind: `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
        temporality: `CUMULATIVE`, `DELTA` or `UNSPECIFIED`.
        value: Of a gauge or a sum; the sum of a histogram's or summary's measurements.
        count: Measurements in a histogram or summary; 0 for the others.
        bounds: Upper bounds of a histogram's buckets; of an exponential one those that its scale and offset mean.
        buckets: Measurements in each bucket, one more than `bounds`.
    """

    name: str
    kind: str
    unit: str
    description: str
    temporality: str
    monotonic: bool
    attributes: Attributes
    start: int
    time: int
    value: float
    count: int
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar, ...]


def value_of(value: AnyValue) -> Any:
    """An OTLP value as plain Python: str, bool, int, float, bytes, list, dict or `None`."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind)


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """OTLP attributes as a dictionary."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def _id(raw: bytes) -> str:
    """An id in hexadecimal digits; one of zeros alone is none, as which some SDKs send it."""
    return raw.hex() if raw.strip(b"\0") else ""


def _origin(resource: Attributes, scope: InstrumentationScope) -> dict[str, Any]:
    return {"resource": resource, "scope": scope.name, "scope_version": scope.version}


def spans_of(request: ExportTraceServiceRequest) -> Iterable[Span]:
    """The spans of an export request."""
    for group in request.resource_spans:
        resource = attributes_of(group.resource.attributes)
        for scoped in group.scope_spans:
            origin = _origin(resource, scoped.scope)
            for span in scoped.spans:
                yield Span(
                    **origin,
                    trace_id=_id(span.trace_id),
                    span_id=_id(span.span_id),
                    parent_span_id=_id(span.parent_span_id),
                    name=span.name,
                    kind=_enum(SpanMessage.SpanKind, span.kind, "SPAN_KIND_"),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    status=_enum(Status.StatusCode, span.status.code, "STATUS_CODE_"),
                    status_message=span.status.message,
                    attributes=attributes_of(span.attributes),
                    events=tuple(
                        Event(name=event.name, time=event.time_unix_nano, attributes=attributes_of(event.attributes))
                        for event in span.events
                    ),
                    links=tuple(
                        Link(
                            trace_id=_id(link.trace_id),
                            span_id=_id(link.span_id),
                            attributes=attributes_of(link.attributes),
                        )
                        for link in span.links
                    ),
                )


def logs_of(request: ExportLogsServiceRequest) -> Iterable[LogRecord]:
    """The log records of an export request."""
    for group in request.resource_logs:
        resource = attributes_of(group.resource.attributes)
        for scoped in group.scope_logs:
            origin = _origin(resource, scoped.scope)
            for record in scoped.log_records:
                yield LogRecord(
                    **origin,
                    trace_id=_id(record.trace_id),
                    span_id=_id(record.span_id),
                    time=record.time_unix_nano,
                    observed_time=record.observed_time_unix_nano,
                    severity=record.severity_text,
                    severity_number=int(record.severity_number),
                    body=value_of(record.body),
                    event_name=record.event_name,
                    attributes=attributes_of(record.attributes),
                )


def points_of(request: ExportMetricsServiceRequest) -> Iterable[MetricPoint]:
    """The data points of an export request."""
    for group in request.resource_metrics:
        resource = attributes_of(group.resource.attributes)
        for scoped in group.scope_metrics:
            origin = _origin(resource, scoped.scope)
            for metric in scoped.metrics:
                yield from _metric_points(metric, origin)


def _metric_points(metric: Metric, origin: dict[str, Any]) -> Iterable[MetricPoint]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        single = kind in ("gauge", "sum")
        bounds, buckets = _buckets(point, kind)
        yield MetricPoint(
            **origin,
            name=metric.name,
            kind=kind,
            unit=metric.unit,
            description=metric.description,
            temporality=_enum(AggregationTemporality, getattr(data, "aggregation_temporality", 0), _TEMPORALITY),
            monotonic=getattr(data, "is_monotonic", False),
            attributes=attributes_of(point.attributes),
            start=point.start_time_unix_nano,
            time=point.time_unix_nano,
            value=_number(point) if single else point.sum,
            count=0 if single else point.count,
            bounds=bounds,
            buckets=buckets,
            exemplars=tuple(
                Exemplar(
                    trace_id=_id(exemplar.trace_id),
                    span_id=_id(exemplar.span_id),
                    value=_number(exemplar),
                    time=exemplar.time_unix_nano,
                    attributes=attributes_of(exemplar.filtered_attributes),
                )
                for exemplar in getattr(point, "exemplars", ())
            ),
        )


_TEMPORALITY = "AGGREGATION_TEMPORALITY_"


def _buckets(point: Any, kind: str) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if kind != "exponential_histogram":
        return tuple(getattr(point, "explicit_bounds", ())), tuple(getattr(point, "bucket_counts", ()))
    # https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
    counts, offset = tuple(point.positive.bucket_counts), point.positive.offset
    try:
        base = 2.0 ** (2.0**-point.scale)
        bounds = tuple(base ** (offset + position) for position in range(len(counts) + 1))
    except OverflowError:
        return (), ()
    # What is zero, and what is below it, is beneath the first bound.
    return bounds, (point.zero_count + sum(point.negative.bucket_counts), *counts, 0)


def _number(point: Any) -> float:
    return float(point.as_double if point.WhichOneof("value") == "as_double" else point.as_int)


def _enum(kind: Any, number: int, prefix: str) -> str:
    try:
        return str(kind.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)  # from a newer sender
