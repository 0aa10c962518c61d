"""The metrics of one process at one moment, in plain data that another process can read and add.

A snapshot is a dict for JSON: `resource` (attributes) and `families`, each a list of name, unit,
description, kind and points. A point is a list of its attributes, sorted, and its value: of a number
`[value, exemplar]`, of a histogram `[count, sum, bounds, bucket counts, exemplars by bucket]`. An
exemplar is `[value, seconds since the epoch, trace id, span id]`.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections.abc import Iterable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import export

from otel_search.metrics import exponential
from otel_search.metrics.garbage import collected
from otel_search.metrics.turns import Turns

_logger = logging.getLogger("otel_search.metrics")

COUNTER, UP_DOWN, GAUGE, HISTOGRAM = "counter", "up_down", "gauge", "histogram"

Snapshot = dict[str, Any]


class _PullReader(export.MetricReader):
    """A reader that is only ever asked."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import (
            Counter,
            Histogram,
            ObservableCounter,
            ObservableGauge,
            ObservableUpDownCounter,
            UpDownCounter,
        )

        kinds = (Counter, Histogram, ObservableCounter, ObservableGauge, ObservableUpDownCounter, UpDownCounter)
        super().__init__(preferred_temporality=dict.fromkeys(kinds, export.AggregationTemporality.CUMULATIVE))

    def _receive_metrics(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> None:
        """Nothing to do: who collects keeps what is returned."""

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing to end."""


class Reading:
    """Reads what this process has measured.

    Each reader of the SDK keeps sums of its own, which each measurement of each request has to be
    added to. Where there is one with cumulative sums already, as OTLP's by default, it is read from:
    that costs a request nothing. Exemplars that one reading takes are gone for the next, so the last
    one of each bucket is kept here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._provider: Any = None
        self._reader: Any = None
        self._exemplars: dict[Any, dict[int, list[Any]]] = {}
        self._cumulated: dict[Any, list[int]] = {}
        self._warned: set[str] = set()

    def prepare(self) -> bool:
        """Find the reader, or add one; whether there is something to read at all."""
        provider: Any = metrics.get_meter_provider()
        if provider is not self._provider:
            self._provider, self._reader = provider, _cumulative_reader(provider)
        return self._reader is not None

    def snapshot(self) -> Snapshot:
        """What has been measured so far; takes some milliseconds, and as long as the slowest callback."""
        with self._lock:
            if not self.prepare():
                return {"resource": {}, "families": []}
            with collected():  # the application's own callbacks are in this
                data = self._provider._measurement_consumer.collect(self._reader)
            families: list[list[Any]] = []
            resource: dict[str, str] = {
                key: _text(value) for key, value in getattr(self._resource(), "attributes", {}).items()
            }
            exemplars: dict[Any, dict[int, list[Any]]] = {}
            turns = Turns()
            for resource_metrics in data.resource_metrics if data is not None else ():
                for scope_metrics in resource_metrics.scope_metrics:
                    for metric in scope_metrics.metrics:
                        family = self._family(metric, exemplars, turns)
                        if family is not None:
                            families.append(family)
            self._exemplars = exemplars
            return {"resource": resource, "families": families}

    def _resource(self) -> Any:
        return getattr(getattr(self._provider, "_sdk_config", None), "resource", None)

    def _family(self, metric: Any, exemplars: dict[Any, dict[int, list[Any]]], turns: Turns) -> list[Any] | None:
        data, points = metric.data, []
        if isinstance(data, export.Sum):
            kind = COUNTER if data.is_monotonic else UP_DOWN
        elif isinstance(data, export.Gauge):
            kind = GAUGE
        elif isinstance(data, (export.Histogram, export.ExponentialHistogram)):
            kind = HISTOGRAM
        else:
            if metric.name not in self._warned and len(self._warned) < 100:
                self._warned.add(metric.name)
                _logger.warning("/metrics leaves %s out: %s has no place there", metric.name, type(data).__name__)
            return None
        for point in data.data_points:
            turns.give()
            attributes = sorted([key, _text(value)] for key, value in (point.attributes or {}).items())
            if kind == HISTOGRAM:
                bounds, counts = self._buckets(metric, attributes, point)
                kept = self._kept(metric.name, attributes, point.exemplars, exemplars, bounds)
                value = [point.count, point.sum, bounds, counts, [kept.get(bucket) for bucket in range(len(counts))]]
            else:
                kept = self._kept(metric.name, attributes, point.exemplars, exemplars, ()) if kind == COUNTER else {}
                value = [point.value, kept.get(0)]
            points.append([attributes, value])
        return [metric.name, metric.unit or "", metric.description or "", kind, points]

    def _buckets(self, metric: Any, attributes: list[list[str]], point: Any) -> tuple[list[float], list[int]]:
        if hasattr(point, "explicit_bounds"):
            return list(point.explicit_bounds), list(point.bucket_counts)
        bounds = list(exponential.bounds_of(metric.name, metric.unit or ""))
        key = (metric.name, tuple(map(tuple, attributes)))
        counts = exponential.counts_of(point, bounds, self._cumulated.get(key, ()))
        self._cumulated[key] = list(itertools.accumulate(counts))
        return bounds, counts

    def _kept(
        self, name: str, attributes: list[list[str]], fresh: Iterable[Any], known: dict[Any, Any], bounds: Any
    ) -> dict[int, list[Any]]:
        key = (name, tuple(map(tuple, attributes)))
        kept = dict(self._exemplars.get(key, {}))
        for exemplar in fresh:
            if exemplar.trace_id:
                bucket = bisect.bisect_left(bounds, exemplar.value)
                if bucket not in kept or kept[bucket][1] <= exemplar.time_unix_nano / 1e9:
                    kept[bucket] = [
                        exemplar.value,
                        exemplar.time_unix_nano / 1e9,
                        trace.format_trace_id(exemplar.trace_id),
                        trace.format_span_id(exemplar.span_id),
                    ]
        if kept:
            known[key] = kept
        return kept


def _cumulative_reader(provider: Any) -> Any:
    consumer = getattr(provider, "_measurement_consumer", None)
    for reader in getattr(consumer, "_reader_storages", ()):
        temporality = getattr(reader, "_instrument_class_temporality", {})
        if temporality and set(temporality.values()) == {export.AggregationTemporality.CUMULATIVE}:
            return reader
    if not hasattr(provider, "add_metric_reader"):
        return None
    reader = _PullReader()
    provider.add_metric_reader(reader)
    return reader


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
