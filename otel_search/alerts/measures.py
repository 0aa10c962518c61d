"""What the rules that come with otel-search measure: series under their names at `/metrics`.

What counts as failed is what the KPIs count: 5xx and exceptions without an answer, and neither 4xx
nor clients that left.
"""

from __future__ import annotations

from otel_search import semconv
from otel_search.alerts.expression import Matcher, Series, Where
from otel_search.metrics.names import label_name, metric_name

_KINDS = {"up_down_counter": "up_down"}


def name_of(metric: semconv.Metric) -> str:
    """The name of a metric at `/metrics`, with `_total` if it is a counter."""
    kind = _KINDS.get(metric.instrument, metric.instrument)
    return metric_name(metric.name, metric.unit, kind)[0] + ("_total" if kind == "counter" else "")


def _is(attribute: str, op: str, value: str) -> Matcher:
    return Matcher(label_name(attribute), op, value)


_STATUS, _LEFT = semconv.HTTP_RESPONSE_STATUS_CODE, semconv.CLIENT_LEFT
_CLIENT_IS_THERE = _is(_LEFT, "!=", "true")
_ABORTIONS = r"|(.*\.)?(ClientDisconnect|CancelledError|client_disconnected)"
_FAILED: tuple[Where, ...] = (
    (_is(_STATUS, "=~", "[5-9].."),),
    (_is(_STATUS, "=", ""), _is(semconv.ERROR_TYPE, "!~", _ABORTIONS), _CLIENT_IS_THERE),
)
_ANSWERED: Where = (_is(_STATUS, "=~", "[1-4].."), _is(_STATUS, "!=", "499"), _CLIENT_IS_THERE)
_NO_STREAM = _is(semconv.RESPONSE_STREAM, "!=", "true")
_GOOD: Where = (_is(_STATUS, "=~", "[1-3].."), _CLIENT_IS_THERE)
# A stream lasts as long as its client likes, and what is refused is refused fast.
TIMED = tuple((*where, _NO_STREAM) for where in (_GOOD, *_FAILED))

_HTTP = name_of(semconv.HTTP_DURATION)
FAILED = Series(f"{_HTTP}_count", _FAILED, "http_server_requests_failed")
SERVED = Series(f"{_HTTP}_count", (_ANSWERED, *_FAILED), "http_server_requests_served")
DURATION_SUM = Series(f"{_HTTP}_sum", TIMED, "http_server_request_duration_seconds_sum")
DURATION_COUNT = Series(f"{_HTTP}_count", TIMED, "http_server_request_duration_seconds_count")
DURATION_BUCKET = Series(f"{_HTTP}_bucket", TIMED, "http_server_request_duration_seconds_bucket")


def _searches(*outcomes: str, alias: str) -> Series:
    where = ((_is(semconv.OUTCOME, "=~", "|".join(outcomes)),),) if outcomes else ((),)
    return Series(name_of(semconv.SEARCHES), where, alias)


ALL_SEARCHES = _searches(alias="search_client_searches")
ANSWERED_SEARCHES = _searches("hits", "empty", alias="search_client_searches_answered")
EMPTY_SEARCHES = _searches("empty", alias="search_client_searches_empty")
PARTIAL_SEARCHES = _searches("partial", "timeout", alias="search_client_searches_partial")
SEARCH_ERRORS = _searches("error", alias="search_client_searches_failed")
_BULK = name_of(semconv.BULK_ITEMS)
ALL_ITEMS = Series(_BULK, alias="search_client_bulk_items")
FAILED_ITEMS = Series(_BULK, ((_is(semconv.OUTCOME, "!=", "ok"),),), "search_client_bulk_items_failed")
_CALLS = f"{name_of(semconv.DB_OPERATION_DURATION)}_count"
ALL_CALLS = Series(_CALLS, alias="db_client_operations")
UNANSWERED = Series(
    _CALLS,
    ((_is(semconv.ERROR_TYPE, "=~", "ConnectionError|ConnectionTimeout|TlsError"),),),
    "db_client_operations_unanswered",
)
DROPPED = name_of(semconv.TELEMETRY_DROPPED)
UPTIME = Series(name_of(semconv.PROCESS_UPTIME))
OVERFLOW = Series("", ((Matcher("otel_metric_overflow", "=", "true"),),))

COMPONENT = label_name(semconv.HEALTH_COMPONENT)
DROP_SIGNAL, DROP_REASON = (label_name(attribute) for attribute in semconv.TELEMETRY_DROPPED.attributes)


def health_of(component: str) -> Series:
    """The health of components whose names match a regular expression."""
    return Series(name_of(semconv.HEALTH_STATUS), ((_is(semconv.HEALTH_COMPONENT, "=~", component),),))
