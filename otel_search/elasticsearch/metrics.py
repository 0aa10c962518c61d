"""The metrics of the schema, made once for each meter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otel_search import __version__, semconv
from otel_search.elasticsearch import faults
from otel_search.elasticsearch.pools import Pools

_made: WeakKeyDictionary[Any, Instruments] = WeakKeyDictionary()


class Instruments:
    """The instruments of Elasticsearch calls on one meter.

    Attributes:
        pools: What the observed metrics look at; `None` while nothing is instrumented.
    """

    def __init__(self, meter: Any) -> None:
        self.pools: Pools | None = None
        self.duration = semconv.DB_OPERATION_DURATION.on(meter)
        self.rows = semconv.DB_ROWS.on(meter)
        self.took = semconv.SEARCH_TOOK.on(meter)
        self.searches = semconv.SEARCHES.on(meter)
        self.bulk_items = semconv.BULK_ITEMS.on(meter)
        self.retries = semconv.RETRIES.on(meter)
        semconv.NODES.observed_on(meter, self._nodes)
        semconv.DB_CONNECTIONS.observed_on(meter, self._connections)

    def _nodes(self, _: CallbackOptions) -> Iterable[Observation]:
        try:
            counted = self.pools.nodes() if self.pools else {}
        except Exception:
            faults.report("counting nodes")
            return []
        return [Observation(count, {semconv.NODE_STATE: state}) for state, count in counted.items()]

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        try:
            counted = self.pools.connections() if self.pools else {}
        except Exception:
            faults.report("counting connections")
            return []
        return [
            Observation(count, {semconv.POOL_NAME: pool, semconv.POOL_STATE: state})
            for (pool, state), count in counted.items()
        ]


def instruments(meter_provider: Any = None) -> Instruments:
    """The instruments on our meter of `meter_provider`, or of the global provider: the same at each call.

    A meter complains about a second instrument of the same name, and observed ones cannot be removed.
    """
    meter = metrics.get_meter(semconv.SCOPE, __version__, meter_provider)
    try:
        found = _made.get(meter)
        if found is None:
            found = _made[meter] = Instruments(meter)
        return found
    except TypeError:
        return Instruments(meter)
