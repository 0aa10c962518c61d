"""The providers of a test process: in memory, set once, and emptied between tests.

OpenTelemetry's globals can be set once in a process, so they are set once. What differs from test to
test is what was recorded since the test began. Where the application has set providers itself, they
are left in place and ours listens at them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.metrics import Meter, ObservableGauge
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_ON

from otel_search import semconv
from otel_search.testing.fixed import FixedIds, Stamp
from otel_search.viewer.telemetry import LogRecord, MetricPoint, Span, logs_of, points_of, spans_of


class Spans(SpanExporter):
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.kept: list[Span] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep these spans, in the form in which they would have left the process."""
        self.kept += spans_of(encode_spans(spans))
        return SpanExportResult.SUCCESS


class Logs(LogRecordExporter):
    """Keeps log records."""

    def __init__(self) -> None:
        self.kept: list[LogRecord] = []

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Keep these records, in the form in which they would have left the process."""
        self.kept += logs_of(encode_logs(batch))
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface's
        """Nothing waits."""
        return True


class Meters(MeterProvider):
    """The SDK's, but for the metric whose observation asks Elasticsearch: a test opens no connection of ours."""

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        """A meter, as the SDK's."""
        meter = super().get_meter(*args, **kwargs)
        create = meter.create_observable_gauge

        def create_observable_gauge(name: str, *args: Any, **kwargs: Any) -> ObservableGauge:
            silent = name == semconv.HEALTH_STATUS.name
            return create(name, *(() if silent else args), **{**kwargs, **({"callbacks": ()} if silent else {})})

        meter.create_observable_gauge = create_observable_gauge  # type: ignore[method-assign]
        return meter


class Providers:
    """What records, for the life of the process."""

    def __init__(self) -> None:
        self.ids = FixedIds()
        self.stamp = Stamp()
        self.spans = Spans()
        self.logs = Logs()
        # What was measured since the last look, and not since the process began.
        kinds = (Counter, Histogram, ObservableCounter)
        self._reader = InMemoryMetricReader(dict.fromkeys(kinds, AggregationTemporality.DELTA))
        resource = Resource.create({})
        tracers = _given_or_set(
            trace.get_tracer_provider,
            lambda: trace.set_tracer_provider(TracerProvider(DEFAULT_ON, resource, id_generator=self.ids)),
        )
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        if _is_given(metrics.get_meter_provider()):
            theirs: Any = metrics.get_meter_provider()
            theirs.add_metric_reader(self._reader)
        else:
            metrics.set_meter_provider(Meters(resource=resource, metric_readers=[self._reader]))
        loggers = _given_or_set(
            _logs.get_logger_provider, lambda: _logs.set_logger_provider(LoggerProvider(resource=resource))
        )
        loggers.add_log_record_processor(self.stamp)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self.spans.kept.clear()
        self.logs.kept.clear()
        self.points()
        self.ids.restart()

    def points(self) -> list[MetricPoint]:
        """The points of what was measured since the last call."""
        data = self._reader.get_metrics_data()
        return [] if data is None else list(points_of(encode_metrics(data)))


def _given_or_set(get: Callable[[], Any], set_ours: Callable[[], None]) -> Any:
    if not _is_given(get()):
        set_ours()
    return get()


def _is_given(provider: Any) -> bool:
    return hasattr(provider, "force_flush")  # the API's own, which does nothing, has none


_lock = threading.RLock()


@functools.cache
def _providers() -> Providers:
    return Providers()


def providers() -> Providers:
    """The providers of this process, set at the first call."""
    with _lock:
        return _providers()
