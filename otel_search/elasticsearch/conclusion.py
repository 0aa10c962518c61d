"""What a finished call leaves: its metrics, its span's attributes and status, and its log line.

The status of the span follows one rule:

1. A call that raised has failed, with Elasticsearch's error type or the exception's name. A missing
   document (404 without an error, as from `get`) and statuses that the caller ignores are no errors.
2. A bulk request or multi-search of which every item failed has failed as its items have.
3. What is partial (a search that timed out or lost shards, a batch with some failed items) is not
   an error, but has `search.outcome` `partial` or `timeout`; with `OTEL_SEARCH_PARTIAL_IS_ERROR`
   it is one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from otel_search import semconv
from otel_search.elasticsearch import faults
from otel_search.elasticsearch.errors import CANCELLATIONS, error_type, root_cause_of
from otel_search.elasticsearch.facts import ERROR, PARTIAL, TIMEOUT, Facts
from otel_search.elasticsearch.helper_span import asks_in_vain, current_helper
from otel_search.elasticsearch.reply import read
from otel_search.elasticsearch.request import QUERY_BODIES, decoded, describe, type_of
from otel_search.elasticsearch.urls import parameters_of, templated_url
from otel_search.lean.measurements import Point
from otel_search.query import shapes

if TYPE_CHECKING:
    from otel_search.elasticsearch.call import Call

# Keys of an operation's time series, besides statuses and query types.
_ROWS = ("rows",)
_SEARCHES = "searches"
_MAX_POINTS = 64

_ERROR = Status(StatusCode.ERROR)


def conclude(call: Call, error: BaseException | None, duration: float) -> None:
    """Record a call that has ended.

    Args:
        call: The call, whose span is still current.
        error: What it raised.
        duration: Seconds from its start, retries and waits included.
    """
    facts = _facts(call) if error is None else Facts()
    failure = facts.failed_as if error is None else error_type(error, call.operation.name)
    if error is not None and call.status == 404 and asks_in_vain(call.operation.name, call.context):
        failure = None
    if error is not None and failure is not None:
        facts.first_failure = root_cause_of(error)
    if failure is None and facts.outcome in {PARTIAL, TIMEOUT} and call.telemetry.settings.partial_is_error:
        failure = (facts.first_failure or f"{facts.outcome}_result").partition(",")[0]
    outcome = ERROR if error is not None and failure is not None else facts.outcome
    try:
        _measure(call, duration, failure, outcome, facts)
    except Exception:
        faults.report("recording metrics")
    level, kind = _level(call, error, duration, failure, facts)
    logged = call.telemetry.log.wants(level)
    if call.recording or logged:
        found = facts.attributes
        try:
            _describe(call, found, failure, outcome, facts)
            summary = found.get(semconv.DB_QUERY_SUMMARY)
            if summary is not None:
                # Without a body, or with the query's text off, the summary alone says what it is.
                shapes.tell(found.get(semconv.QUERY_HASH, "-"), summary, duration)
        except Exception:
            faults.report("describing a call")
        if call.recording:
            call.otel_span.set_attributes(found)
            if failure is not None:
                call.otel_span.set_status(_ERROR)
        if logged:
            fields = {**call.operation.attributes, **found, semconv.LOG_DURATION: duration}
            call.telemetry.log.write(level, call.operation.span_name, kind, fields)
    elif call.telemetry.log.has_suppressed:
        call.telemetry.log.settle()


def _facts(call: Call) -> Facts:
    # A reply with an ignored error status has nothing to read but its error.
    if call.status is None or not 200 <= call.status < 300:
        return Facts()
    try:
        return read(call.operation.name, call.reply)
    except Exception:
        faults.report("reading a reply")
        return Facts()


def _measure(call: Call, duration: float, failure: str | None, outcome: str | None, facts: Facts) -> None:
    telemetry, operation, context = call.telemetry, call.operation, call.context
    instruments, points = telemetry.instruments, operation.points
    sampled = call.otel_span.get_span_context().trace_flags.sampled
    key: Any = (call.status, failure)
    point = points.get(key)
    if point is None:
        attributes = operation.metric_attributes.copy()
        if call.status is not None:
            attributes[semconv.DB_STATUS_CODE] = str(call.status)
        if failure is not None:
            attributes[semconv.ERROR_TYPE] = telemetry.error_types(failure)
        point = _keep(call, key, instruments.duration, attributes)
    point.record(duration, context, sampled)
    if operation.is_search:
        _measure_searches(call, outcome, facts, sampled)
    if facts.rows is not None:
        point = points.get(_ROWS)
        if point is None:
            point = _keep(call, _ROWS, instruments.rows, operation.database_attributes)
        point.record(facts.rows, context, sampled)
        if facts.took is not None:
            key = _type(call)
            point = points.get(key)
            if point is None:
                attributes = operation.database_attributes
                if key is not None:
                    attributes = attributes | {semconv.QUERY_TYPE: key}
                point = _keep(call, key, instruments.took, attributes)
            point.record(facts.took, context, sampled)
    if facts.items is not None:
        _measure_items(call, facts.items)


def _keep(call: Call, key: Any, instrument: Any, attributes: dict[str, Any]) -> Point:
    """The time series of these attributes, kept for the next call as long as there are not too many."""
    points = call.operation.points
    point = Point(instrument, attributes, lean=call.telemetry.lean)
    if len(points) < _MAX_POINTS:
        points[key] = point
    return point


def _type(call: Call) -> str | None:
    return type_of(call.operation.name, _body(call), parameters_of(call.target or ""))


def _body(call: Call) -> Any:
    """The request's body as objects, worked out once."""
    body = call.body
    if type(body) is not dict and body is not None:
        body = call.body = decoded(body)
    return body


def _measure_searches(call: Call, outcome: str | None, facts: Facts, sampled: bool) -> None:
    family = call.operation.family
    if facts.searches is None:
        if outcome is not None:
            _count_searches(call, family, outcome, 1, sampled)
        return
    targets = _targets(call)
    counted: dict[tuple[str | None, str], int] = {}
    for number, one in enumerate(facts.searches):
        target = targets[number] if number < len(targets) else None
        key = (call.telemetry.families.of(target) or family, one)
        counted[key] = counted.get(key, 0) + 1
    for (collection, one), count in counted.items():
        _count_searches(call, collection, one, count, sampled)


def _count_searches(call: Call, family: str | None, outcome: str, count: int, sampled: bool) -> None:
    key = (_SEARCHES, family, outcome)
    point = call.operation.points.get(key)
    if point is None:
        attributes = {semconv.OUTCOME: outcome}
        if family is not None:
            attributes[semconv.DB_COLLECTION] = family
        point = _keep(call, key, call.telemetry.instruments.searches, attributes)
    point.record(count, call.context, sampled)


def _targets(call: Call) -> list[str | None]:
    """The targets in the headers of a multi-search."""
    body = _body(call)
    headers = body[::2] if isinstance(body, list) else []
    targets = [header.get("index") if isinstance(header, dict) else None for header in headers]
    return [",".join(map(str, target)) if isinstance(target, list) else target for target in targets]


def _measure_items(call: Call, items: dict[tuple[str, str, str], int]) -> None:
    helper = current_helper(call.context)
    if helper is not None:
        failed: dict[str, int] = {}
        for (_, _, outcome), count in items.items():
            failed[outcome] = failed.get(outcome, 0) + count
        helper.count_reply(failed.pop("ok", 0), failed)
    counted: dict[tuple[str | None, str, str], int] = {}
    telemetry = call.telemetry
    for (index, action, outcome), count in items.items():
        key = (telemetry.families.of(index), action, outcome if outcome == "ok" else telemetry.error_types(outcome))
        counted[key] = counted.get(key, 0) + count
    for (family, action, outcome), count in counted.items():
        attributes = {semconv.BULK_ACTION: action, semconv.OUTCOME: outcome}
        if family is not None:
            attributes[semconv.DB_COLLECTION] = family
        telemetry.instruments.bulk_items.add(count, attributes, call.context)


def _level(
    call: Call, error: BaseException | None, duration: float, failure: str | None, facts: Facts
) -> tuple[int, str]:
    """The level of the call's log line, and what is wrong with it."""
    if error is not None and failure is not None:
        return (logging.WARNING if isinstance(error, CANCELLATIONS) else logging.ERROR), failure
    if facts.failed_as is not None:
        return logging.ERROR, facts.failed_as
    if facts.outcome in {PARTIAL, TIMEOUT}:
        return logging.WARNING, facts.outcome or PARTIAL
    slow = call.operation.slow
    if slow and duration > slow:
        facts.attributes[semconv.SLOW] = True
        return logging.WARNING, semconv.SLOW
    if call.retries:
        return logging.WARNING, semconv.RETRIES_MADE
    return logging.DEBUG, ""


def _describe(call: Call, found: dict[str, Any], failure: str | None, outcome: str | None, facts: Facts) -> None:
    operation = call.operation
    if call.status is not None:
        found[semconv.DB_STATUS_CODE] = str(call.status)
    if failure is not None:
        found[semconv.ERROR_TYPE] = failure
    if outcome is not None:
        found[semconv.OUTCOME] = outcome
    if facts.rows is not None:
        found[semconv.DB_RETURNED_ROWS] = facts.rows
    if facts.batch is not None:
        found[semconv.DB_BATCH_SIZE] = facts.batch
    if facts.first_failure is not None:
        found[semconv.FIRST_FAILURE] = facts.first_failure
    if call.retries:
        found[semconv.RETRIES_MADE] = call.retries
    if call.cluster is not None:
        found[semconv.DB_NAMESPACE] = call.cluster
    if call.cluster_node is not None:
        found[semconv.ELASTICSEARCH_NODE] = call.cluster_node
    target = call.target or ""
    if call.node is not None:
        host, port, base_url = call.node
        if (host, port) != call.address:
            found[semconv.SERVER_ADDRESS], found[semconv.SERVER_PORT] = host, port
        found[semconv.URL_FULL] = templated_url(base_url, target, call.parts)
    body = _body(call) if operation.name in QUERY_BODIES else None
    describe(operation.name, body, parameters_of(target), found, text=call.telemetry.query_text)
    query_type = found.get(semconv.QUERY_TYPE)
    if query_type is not None:
        found[semconv.DB_QUERY_SUMMARY] = f"{operation.span_name} {query_type}"
