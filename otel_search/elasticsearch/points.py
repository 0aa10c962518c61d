"""One time series of one instrument, found once and then recorded to directly.

The SDK checks, copies, sorts and hashes the attributes of every measurement to find where it
belongs. A search is four measurements whose attributes are the same from call to call: here the
place is looked up once. Whatever is not as expected (another SDK, delta temporality, a filter of
the user's for exemplars) goes the SDK's own way, with the same outcome.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from otel_search.elasticsearch import faults

# Whether a measurement is offered as an exemplar; `None` for: if its span is sampled.
_OFFERS: dict[type, bool | None] = {}
try:
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter
    from opentelemetry.sdk.metrics._internal import _view_instrument_match

    _OFFERS |= {TraceBasedExemplarFilter: None, AlwaysOnExemplarFilter: True, AlwaysOffExemplarFilter: False}
except ImportError:
    # An application with another implementation of the API.
    pass


class _Measurement:
    """What an aggregation reads of a measurement."""

    __slots__ = ("attributes", "context", "time_unix_nano", "value")

    def __init__(self, value: float, attributes: dict[str, Any], context: Any) -> None:
        self.value = value
        self.time_unix_nano = time_ns()
        self.attributes = attributes
        self.context = context


class Point:
    """A time series.

    Args:
        instrument: A counter or a histogram.
        attributes: Its attributes; they belong to the point from now on.
        lean: Whether to look for the short way.
    """

    __slots__ = ("_aggregations", "_instrument", "_lean", "_offers", "_record", "_storages", "attributes")

    def __init__(self, instrument: Any, attributes: dict[str, Any], *, lean: bool) -> None:
        self.attributes = attributes
        self._instrument = instrument
        self._record = instrument.add if hasattr(instrument, "add") else instrument.record
        self._lean = lean
        self._storages: Any = None
        self._aggregations: list[Any] | None = None
        self._offers: bool | None = None

    def record(self, value: float, context: Any, sampled: bool) -> None:
        """Record a measurement.

        Args:
            value: The amount, finite and not negative.
            context: The context that it belongs to.
            sampled: Whether the span in `context` is sampled.
        """
        if self._lean:
            consumer = getattr(self._instrument, "_measurement_consumer", None)
            if consumer is None:
                # A stand-in for the instrument, from before the application made its provider.
                self._instrument = getattr(self._instrument, "_real_instrument", None) or self._instrument
            elif getattr(consumer, "_reader_storages", None) is not self._storages:
                self._look_up(consumer)
            if self._aggregations is not None and self._instrument._is_enabled():
                measurement = _Measurement(value, self.attributes, context)
                offered = sampled if self._offers is None else self._offers
                for aggregation in self._aggregations:
                    aggregation.aggregate(measurement, offered)
                return
        self._record(value, self.attributes, context)

    def _look_up(self, consumer: Any) -> None:
        try:
            self._storages = consumer._reader_storages
            self._aggregations = self._places(consumer)
        except Exception:
            self._lean = False
            self._aggregations = None
            faults.report("looking up a time series")

    def _places(self, consumer: Any) -> list[Any] | None:
        """The aggregations of this series, one for each reader and view; `None` if the SDK has to find them."""
        kind = type(consumer._sdk_config.exemplar_filter)
        if kind not in _OFFERS or not hasattr(self._instrument, "_is_enabled"):
            return None
        self._offers = _OFFERS[kind]
        found = []
        for storage in self._storages.values():
            for match in storage._get_or_init_view_instrument_match(self._instrument):
                if getattr(match, "_reset_on_collect", True):
                    # Delta temporality throws its aggregations away at each collection.
                    return None
                kept = match._view._attribute_keys
                attributes = {name: value for name, value in self.attributes.items() if kept is None or name in kept}
                key = _view_instrument_match._hash_attributes(attributes)
                with match._lock:
                    found.append(match._get_or_create_aggregation(key, attributes))
        return found
