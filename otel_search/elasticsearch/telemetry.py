"""What all calls of one process share: settings, instruments, and what was worked out once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from otel_search import semconv
from otel_search.elasticsearch.bounded import Bounded
from otel_search.elasticsearch.correlation import Correlation
from otel_search.elasticsearch.families import Families
from otel_search.elasticsearch.metrics import instruments
from otel_search.elasticsearch.operation_log import OperationLog
from otel_search.elasticsearch.pools import Pools
from otel_search.elasticsearch.reply import SEARCHES
from otel_search.elasticsearch.request import QUERY_BODIES
from otel_search.lean.measurements import Point
from otel_search.settings import Settings

# Distinct (endpoint, target) pairs that are remembered; beyond it everything is forgotten and learned anew.
_MAX_KNOWN = 2048
_MAX_ERROR_TYPES = 200
_MAX_NODES = 64

_LONG_BY_NATURE = frozenset({"delete_by_query", "reindex", "update_by_query"})
_READS_AND_WRITES = frozenset(
    {"create", "delete", "exists", "get", "get_source", "index", "mget", "scroll", "termvectors", "update"}
)
_MAY_BE_SLOW = (frozenset(QUERY_BODIES) | _READS_AND_WRITES) - _LONG_BY_NATURE


@dataclass(slots=True, eq=False)
class Operation:
    """One endpoint on one target: all that does not change from call to call.

    Attributes:
        name: The endpoint's name in the client's API.
        span_name: The name of its span, of low cardinality.
        family: The collection family, `None` without a target.
        attributes: The span's attributes at its creation.
        metric_attributes: What its durations have in common.
        database_attributes: The same without the system, for the metrics that are about Elasticsearch alone.
        is_search: Whether it counts as a search.
        slow: From when on it is slow, in seconds; 0 for never.
        points: Its time series, by what they differ in.
    """

    name: str
    span_name: str
    family: str | None
    attributes: dict[str, Any]
    metric_attributes: dict[str, Any]
    database_attributes: dict[str, Any]
    is_search: bool
    slow: float
    points: dict[Any, Point] = field(default_factory=dict)


class Telemetry:
    """Settings and instruments of an instrumentation, with a bounded memory of operations.

    Args:
        settings: The effective settings.
        meter_provider: Where the instruments are made; the global provider if `None`.
        tracer_provider: Knows the name of the service; the global provider if `None`.
    """

    def __init__(self, settings: Settings, meter_provider: Any = None, tracer_provider: Any = None) -> None:
        self.settings = settings
        self.families = Families()
        self.error_types = Bounded(_MAX_ERROR_TYPES)
        self.nodes = Bounded(_MAX_NODES)
        self.instruments = instruments(meter_provider)
        self.pools = self.instruments.pools = Pools()
        self.log = OperationLog()
        self.correlation = Correlation(settings, tracer_provider)
        # The client's own variable is the standard one.
        captured = {None: settings.query_text, "raw": "raw", "omit": "off"}
        self.query_text: str = captured[settings.capture_search_query]
        self.lean = settings.hot_path == "lean"
        self.is_alone = not settings.elasticsearch_http_spans
        self._known: dict[Any, Operation] = {}

    def close(self) -> None:
        """Observe nothing any more, and say what was not said."""
        if self.instruments.pools is self.pools:
            self.instruments.pools = None
        self.log.settle(at_end=True)

    def operation(
        self, endpoint: str, target: str | None, address: tuple[str, int] | None, method: str | None
    ) -> Operation:
        """The operation of `endpoint` on `target`, sent to the node at `address` as far as that is known."""
        key = (endpoint, target, address, method)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = self._learn(endpoint, target, address, method)
        return known

    def _learn(
        self, endpoint: str, target: str | None, address: tuple[str, int] | None, method: str | None
    ) -> Operation:
        family = self.families.of(target)
        common = {semconv.DB_SYSTEM: semconv.ELASTICSEARCH, semconv.DB_OPERATION: endpoint}
        attributes: dict[str, Any] = dict(common)
        metric_attributes: dict[str, Any] = dict(common)
        if target and family:
            attributes[semconv.DB_COLLECTION] = target[:256]
            metric_attributes[semconv.DB_COLLECTION] = family
        if address:
            attributes[semconv.SERVER_ADDRESS], attributes[semconv.SERVER_PORT] = address
        if method:
            attributes[semconv.HTTP_REQUEST_METHOD] = method
        database_attributes = {name: value for name, value in metric_attributes.items() if name != semconv.DB_SYSTEM}
        span_name = endpoint if family is None or family == semconv.OTHER else f"{endpoint} {family}"
        slow = self.settings.slow_query.of(target) if endpoint in _MAY_BE_SLOW else 0.0
        return Operation(
            endpoint, span_name, family, attributes, metric_attributes, database_attributes, endpoint in SEARCHES, slow
        )
