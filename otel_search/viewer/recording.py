"""What a receiver has received, in memory, in a form that is easy to ask.

Made for the demo's report and for tests. It is bounded: the oldest of each signal goes when a
new one comes, and is counted in `Recording.dropped`.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_search.viewer.telemetry import Attributes, LogRecord, MetricPoint, Span, logs_of, points_of, spans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_search.viewer.otlp import ExportRequest

T = TypeVar("T")


@dataclass
class Recording:
    """The telemetry that has arrived, in the order of arrival; `add` is a receiver's callback.

    Args:
        limit: How many spans, log records and points to keep, of each.

    Attributes:
        dropped: How many were forgotten because of `limit`.
    """

    limit: int = 100_000
    dropped: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._spans: deque[Span] = deque(maxlen=self.limit)
        self._logs: deque[LogRecord] = deque(maxlen=self.limit)
        self._metrics: deque[MetricPoint] = deque(maxlen=self.limit)

    @property
    def spans(self) -> list[Span]:
        """All spans, a copy."""
        with self._changed:
            return list(self._spans)

    @property
    def logs(self) -> list[LogRecord]:
        """All log records, a copy."""
        with self._changed:
            return list(self._logs)

    @property
    def metrics(self) -> list[MetricPoint]:
        """All points of all exports, a copy; cumulative ones once for each export."""
        with self._changed:
            return list(self._metrics)

    def latest(self, name: str) -> list[MetricPoint]:
        """The last point of each time series of the metric `name`."""
        series: dict[Any, MetricPoint] = {}
        for point in self.metrics:
            if point.name == name:
                key = (_key(point.resource), point.scope, _key(point.attributes))
                series[key] = point
        return list(series.values())

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace by their start."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)

    def add(self, request: ExportRequest) -> None:
        """Record one export request."""
        with self._changed:
            if isinstance(request, ExportTraceServiceRequest):
                self._keep(self._spans, spans_of(request))
            elif isinstance(request, ExportLogsServiceRequest):
                self._keep(self._logs, logs_of(request))
            else:
                self._keep(self._metrics, points_of(request))
            self._changed.notify_all()

    def _keep(self, kept: deque[T], new: Iterable[T]) -> None:
        for item in new:
            self.dropped += len(kept) == self.limit
            kept.append(item)

    def clear(self) -> None:
        """Forget all that has arrived."""
        with self._changed:
            for kept in (self._spans, self._logs, self._metrics):
                kept.clear()

    def wait_for(self, predicate: Callable[[Recording], T], timeout: float = 15.0) -> T:
        """Wait until what has arrived satisfies `predicate`.

        Args:
            predicate: Asked after each arrival; what it returns is true when the wait is over.
            timeout: In seconds.

        Returns:
            What `predicate` returned.

        Raises:
            TimeoutError: If that did not happen in time; its text says what has arrived instead.
        """
        last: list[T] = []

        def satisfied() -> bool:
            last[:] = [predicate(self)]
            return bool(last[0])

        with self._changed:
            if self._changed.wait_for(satisfied, timeout):
                return last[0]
            raise TimeoutError(f"not received in {timeout} s; received: {self.summary()}")

    def summary(self) -> str:
        """One line on what has arrived: how much of each, and the names of the newest spans and metrics."""
        names = sorted({span.name for span in self.spans[-200:]})[:20]
        metrics = sorted({point.name for point in self.metrics})[:40]
        return (
            f"{len(self._spans)} spans ({', '.join(names)}), {len(self._logs)} log records, "
            f"{len(self._metrics)} points ({', '.join(metrics)})"
        )


def _key(attributes: Attributes) -> str:
    return repr(sorted(attributes.items()))
