"""Telemetry as rows: one batch of export requests, written in one transaction."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_search import semconv
from otel_search.viewer.store import meaning
from otel_search.viewer.store.counts import Counts
from otel_search.viewer.telemetry import logs_of, points_of, spans_of

if TYPE_CHECKING:
    import sqlite3

    from otel_search.viewer.otlp import ExportRequest
    from otel_search.viewer.telemetry import LogRecord, MetricPoint, Origin, Span

LONGEST = 32 * 1024
"""Characters of a string that are kept."""

_LONGEST_NAME = 300
_LATEST = 2**62  # SQLite's integers are signed, OTLP's times are not
_REMEMBERED = 10_000


def json_of(value: Any) -> str:
    """A value as JSON; strings that are too long are cut and say so."""
    return orjson.dumps(_cut(value), default=_other, option=orjson.OPT_NON_STR_KEYS).decode()


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]} … (cut, {len(value)} characters)"
    if isinstance(value, Mapping):
        return {name: _cut(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cut(item) for item in value]
    return value


def _other(value: Any) -> Any:
    return value[:LONGEST].hex() if isinstance(value, bytes) else str(value)


class _Memory(OrderedDict[Any, int]):
    """The ids of rows that were written lately."""

    def keep(self, key: Any, identifier: int) -> int:
        self[key] = identifier
        if len(self) > _REMEMBERED:
            self.popitem(last=False)
        return identifier


class Rows:
    """Writes telemetry through one connection, within the caller's transaction.

    Attributes:
        spans, logs, points: How many were written since the start.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.spans = self.logs = self.points = 0
        self.forget()

    def forget(self) -> None:
        """Forget the ids that are known: rows were deleted, or a transaction was rolled back."""
        self._resource: tuple[Mapping[str, Any] | None, int, str] = (None, 0, "")
        self._resources = _Memory()
        self._traces = _Memory()
        self._shapes = _Memory()
        self._metrics = _Memory()
        self._series = _Memory()
        self._last: OrderedDict[int, tuple[int, float, int, str]] = OrderedDict()

    def write(self, requests: Iterable[ExportRequest]) -> None:
        """Write a batch of export requests."""
        counts = Counts()
        for request in requests:
            if isinstance(request, ExportTraceServiceRequest):
                for span in spans_of(request):
                    self._write_span(span, counts)
            elif isinstance(request, ExportLogsServiceRequest):
                for record in logs_of(request):
                    self._write_log(record)
            else:
                for point in points_of(request):
                    self._write_point(point)
        counts.write(self._connection)

    def _id(self, select: str, key: tuple[Any, ...], insert: str, values: tuple[Any, ...]) -> int:
        row = self._connection.execute(select, key).fetchone()
        if row is not None:
            return int(row[0])
        return int(self._connection.execute(insert, values).lastrowid or 0)

    def _resource_of(self, origin: Origin) -> tuple[int, str]:
        # All that comes in one group has the same resource object: its JSON is made once for all.
        if origin.resource is self._resource[0]:
            return self._resource[1:]
        attributes = json_of(origin.resource)
        service = str(origin.resource.get("service.name") or "unknown_service")[:_LONGEST_NAME]
        identifier = self._resources.get(attributes)
        if identifier is None:
            instance = str(origin.resource.get("service.instance.id") or "")[:_LONGEST_NAME]
            identifier = self._resources.keep(
                attributes,
                self._id(
                    "SELECT id FROM resources WHERE attributes = ?",
                    (attributes,),
                    "INSERT INTO resources (service, instance, attributes, last) VALUES (?, ?, ?, 0)",
                    (service, instance, attributes),
                ),
            )
        self._connection.execute("UPDATE resources SET last = ? WHERE id = ?", (time.time_ns(), identifier))
        self._resource = (origin.resource, identifier, service)
        return identifier, service

    # -- spans ----------------------------------------------------------------------------------

    def _write_span(self, span: Span, counts: Counts) -> None:
        if not span.trace_id or not span.span_id:
            return  # the specification says that such spans are invalid
        resource, service = self._resource_of(span)
        trace = self._traces.get(span.trace_id)
        start = min(span.start, _LATEST)
        duration = max(min(span.end, _LATEST) - start, 0)
        if trace is None:
            trace = self._traces.keep(
                span.trace_id,
                self._id(
                    "SELECT id FROM traces WHERE trace_id = ?",
                    (span.trace_id,),
                    "INSERT INTO traces (trace_id, start, finish, duration) VALUES (?, ?, ?, ?)",
                    (span.trace_id, start, start + duration, duration),
                ),
            )
        attributes = json_of(span.attributes)
        events = json_of([[event.name, event.time, event.attributes] for event in span.events]) if span.events else "[]"
        links = json_of([[link.trace_id, link.span_id, link.attributes] for link in span.links]) if span.links else "[]"
        name, message = span.name[:_LONGEST_NAME], str(_cut(span.status_message))
        written = self._connection.execute(
            "INSERT OR IGNORE INTO spans (trace, span_id, parent_span_id, resource, scope, name, kind, start, duration,"
            " status, status_message, attributes, events, links) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (trace, span.span_id, span.parent_span_id, resource, span.scope[:_LONGEST_NAME], name, span.kind, start,
             duration, span.status, message, attributes, events, links),
        )  # fmt: skip
        if written.rowcount != 1:
            return  # the exporter had not heard our answer, and has sent it again
        identifier = int(written.lastrowid or 0)
        self._connection.execute(
            "INSERT INTO span_words (rowid, name, status_message, attributes, events) VALUES (?, ?, ?, ?, ?)",
            (identifier, name, message, attributes, events),
        )
        self.spans += 1
        is_call = meaning.is_call(span)
        finding = meaning.finding_of(span) if is_call else ""
        self._update_trace(trace, span, service, (start, duration), finding, is_call=is_call)
        if is_call:
            shape = self._shape(span, service)
            took = meaning.number(span.attributes.get(semconv.TOOK))
            hits = meaning.number(span.attributes.get(semconv.HITS_TOTAL))
            outcome = finding or ("hits" if span.attributes.get(semconv.OUTCOME) == "hits" else "")
            self._connection.execute(
                "INSERT INTO calls (span, trace, shape, start, duration, took, hits, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (identifier, trace, shape, start, duration, took, None if hits is None else int(hits), outcome),
            )
            counts.call(start, duration, shape, took, outcome, is_search=meaning.is_search(span))
        if span.kind in meaning.ENTRIES:
            counts.request(start, duration, service, name, error=meaning.is_error(span))
        elif span.kind in meaning.EXITS and (peer := meaning.peer_of(span)) is not None:
            counts.edge(start, duration, service, peer, error=meaning.is_error(span))

    def _update_trace(
        self, trace: int, span: Span, service: str, when: tuple[int, int], finding: str, *, is_call: bool
    ) -> None:
        start, duration = when
        finish = start + duration
        failed = span.status == "ERROR"
        root = 2 if not span.parent_span_id else 1 if span.kind in meaning.ENTRIES else 0
        self._connection.execute(
            "UPDATE traces SET start = min(start, ?1), finish = max(finish, ?2), spans = spans + 1, calls = calls + ?3,"
            " errors = errors + ?4,"
            " duration = CASE WHEN root = 2 THEN duration ELSE max(finish, ?2) - min(start, ?1) END,"
            " name = CASE WHEN name = '' THEN ?5 ELSE name END,"
            " service = CASE WHEN service = '' THEN ?6 ELSE service END WHERE id = ?7",
            (start, finish, is_call, failed, span.name[:_LONGEST_NAME], service, trace),
        )
        if root:
            attributes = span.attributes
            self._connection.execute(
                "UPDATE traces SET root = ?1, name = ?2, service = ?3, method = ?4, route = ?5, status = ?6, error = ?7,"
                " duration = CASE WHEN ?1 = 2 THEN ?8 ELSE duration END WHERE id = ?9 AND root < ?1",
                (root, span.name[:_LONGEST_NAME], service, meaning.method_of(attributes)[:20],
                 meaning.route_of(attributes)[:_LONGEST_NAME], meaning.status_of(attributes), meaning.is_error(span),
                 duration, trace),
            )  # fmt: skip
        if finding:
            worse = meaning.FINDINGS[: meaning.FINDINGS.index(finding)]
            marks = ", ".join("?" * len(worse))
            self._connection.execute(
                f"UPDATE traces SET finding = ? WHERE id = ? AND finding IN ({marks})",  # noqa: S608
                (finding, trace, *worse),
            )

    def _shape(self, span: Span, service: str) -> int:
        shape = meaning.shape_of(span, service)
        identifier = self._shapes.get(shape)
        if identifier is not None:
            return identifier
        key = (shape.hash, shape.service, shape.operation, shape.collection)
        return self._shapes.keep(
            shape,
            self._id(
                "SELECT id FROM shapes WHERE hash = ? AND service = ? AND operation = ? AND collection = ?",
                key,
                "INSERT INTO shapes (hash, service, operation, collection, query_type, query) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, shape.query_type, str(_cut(meaning.query_of(span.attributes)))),
            ),
        )

    # -- log records ----------------------------------------------------------------------------

    def _write_log(self, record: LogRecord) -> None:
        resource, _ = self._resource_of(record)
        body = record.body if isinstance(record.body, str) else json_of(record.body) if record.body is not None else ""
        body, attributes = str(_cut(body or record.event_name)), json_of(record.attributes)
        written = self._connection.execute(
            "INSERT INTO logs (time, trace_id, span_id, resource, severity, level, logger, body, attributes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (min(record.time or record.observed_time, _LATEST), record.trace_id, record.span_id, resource,
             record.severity_number, record.severity[:20], record.scope[:_LONGEST_NAME], body, attributes),
        )  # fmt: skip
        self._connection.execute(
            "INSERT INTO log_words (rowid, body, attributes) VALUES (?, ?, ?)", (written.lastrowid, body, attributes)
        )
        self.logs += 1

    # -- metrics --------------------------------------------------------------------------------

    def _write_point(self, point: MetricPoint) -> None:
        if not math.isfinite(point.value):
            return
        series = self._series_of(point)
        at = min(point.time, _LATEST)
        buckets = json_of(point.buckets)
        last = self._last.get(series) or self._stored_point(series)
        if last is not None and point.temporality != "DELTA" and last[1:] == (point.value, point.count, buckets):
            # Nothing new: most exports of most series. The row says until when its numbers were right.
            self._connection.execute(
                "UPDATE points SET until = max(until, ?) WHERE series = ? AND time = ?", (at, series, last[0])
            )
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO points (series, time, until, start, value, count, bounds, buckets)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (series, at, at, min(point.start, _LATEST), point.value, point.count, json_of(point.bounds), buckets),
            )
            self._last[series] = (at, point.value, point.count, buckets)
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        self._connection.execute("UPDATE series SET last = max(last, ?) WHERE id = ?", (at, series))
        for exemplar in point.exemplars:
            if exemplar.trace_id and math.isfinite(exemplar.value):
                self._connection.execute(
                    "INSERT OR IGNORE INTO exemplars (series, time, trace_id, span_id, value) VALUES (?, ?, ?, ?, ?)",
                    (series, min(exemplar.time, _LATEST), exemplar.trace_id, exemplar.span_id, exemplar.value),
                )
        self.points += 1

    def _stored_point(self, series: int) -> tuple[int, float, int, str] | None:
        row: tuple[int, float, int, str] | None = self._connection.execute(
            "SELECT time, value, count, buckets FROM points WHERE series = ? ORDER BY time DESC LIMIT 1", (series,)
        ).fetchone()
        return row

    def _series_of(self, point: MetricPoint) -> int:
        resource, _ = self._resource_of(point)
        name = point.name[:_LONGEST_NAME]
        key = (name, point.kind, point.unit[:_LONGEST_NAME], point.temporality, point.monotonic)
        metric = self._metrics.get(key)
        if metric is None:
            metric = self._metrics.keep(
                key,
                self._id(
                    "SELECT id FROM metrics WHERE name = ? AND kind = ? AND unit = ? AND temporality = ? AND monotonic = ?",
                    key,
                    "INSERT INTO metrics (name, kind, unit, temporality, monotonic, description) VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, str(_cut(point.description))),
                ),
            )
        named = (metric, resource, point.scope[:_LONGEST_NAME], json_of(dict(sorted(point.attributes.items()))))
        series = self._series.get(named)
        if series is None:
            series = self._series.keep(
                named,
                self._id(
                    "SELECT id FROM series WHERE metric = ? AND resource = ? AND scope = ? AND attributes = ?",
                    named,
                    "INSERT INTO series (metric, resource, scope, attributes, last) VALUES (?, ?, ?, ?, 0)",
                    named,
                ),
            )
        return series
