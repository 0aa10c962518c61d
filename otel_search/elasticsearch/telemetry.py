"""What all calls of one process share: settings, instruments, and what was worked out once."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry import metrics

from otel_search import __version__, semconv
from otel_search.elasticsearch.families import OTHER, Families
from otel_search.settings import Settings

# Distinct (endpoint, target) pairs that are remembered; beyond it everything is forgotten and learned anew.
_MAX_KNOWN = 2048


class Operation(NamedTuple):
    """One endpoint on one target: all that does not change from call to call."""

    name: str
    span_name: str
    family: str | None
    attributes: dict[str, Any]
    metric_attributes: dict[str, Any]


class Telemetry:
    """Settings and instruments of an instrumentation, with a bounded memory of operations.

    Args:
        settings: The effective settings.
        meter_provider: Where the instruments are made; the global provider if `None`.
    """

    def __init__(self, settings: Settings, meter_provider: Any = None) -> None:
        self.settings = settings
        self.families = Families()
        meter = metrics.get_meter(semconv.SCOPE, __version__, meter_provider)
        self.duration = semconv.DB_OPERATION_DURATION.on(meter)
        self.sends_traceparent = settings.elasticsearch_traceparent
        self.records_text = settings.query_text != "off"
        self.raw_text = settings.query_text == "raw"
        self._known: dict[tuple[str, str | None, Any], Operation] = {}

    def operation(self, endpoint: str, target: str | None, address: tuple[str, int] | None) -> Operation:
        """The operation of `endpoint` on `target`, sent to the node at `address` as far as that is known."""
        key = (endpoint, target, address)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = self._learn(endpoint, target, address)
        return known

    def _learn(self, endpoint: str, target: str | None, address: tuple[str, int] | None) -> Operation:
        family = self.families.of(target)
        attributes: dict[str, Any] = {
            semconv.DB_SYSTEM: semconv.ELASTICSEARCH,
            semconv.DB_OPERATION: endpoint,
        }
        metric_attributes = dict(attributes)
        if target and family:
            attributes[semconv.DB_COLLECTION] = target[:256]
            metric_attributes[semconv.DB_COLLECTION] = family
        if address:
            attributes[semconv.SERVER_ADDRESS], attributes[semconv.SERVER_PORT] = address
        low_cardinality = family is not None and family != OTHER
        span_name = f"{endpoint} {family}" if low_cardinality else endpoint
        return Operation(endpoint, span_name, family, attributes, metric_attributes)
