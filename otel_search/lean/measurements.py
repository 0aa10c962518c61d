"""Measurements whose place is found once and then recorded to directly.

The SDK checks, copies, sorts and hashes the attributes of every measurement to find the time series
that it belongs to. The attributes are the same from request to request, so here the series is looked
up once: for each set of attributes that an instrument is given, or, for callers that keep their
attributes themselves, as a `Point`. Whatever is not as expected (another SDK, delta temporality,
a filter of the user's for exemplars) goes the SDK's own way, with the same outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import inf
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import get_current

from otel_search.lean.attributes import are_plain

_logger = logging.getLogger(__name__)

# Whether a measurement is offered as an exemplar; `None` for: if its span is sampled.
_OFFERS: dict[type, bool | None] = {}
try:
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter
    from opentelemetry.sdk.metrics._internal import _view_instrument_match, instrument

    _OFFERS |= {TraceBasedExemplarFilter: None, AlwaysOnExemplarFilter: True, AlwaysOffExemplarFilter: False}
except ImportError:
    # An application with another implementation of the API.
    pass

# Sets of attributes that are remembered for an instrument; beyond it they are learned anew.
_MAX_KNOWN = 2000
_PLACES = "_otel_search_places"

_upstream: dict[tuple[type, str], Callable[..., None]] = {}


def install() -> None:
    """Let counters and histograms remember where measurements go."""
    if _OFFERS and not _upstream:
        _replace(instrument.Counter, "add", 0)
        _replace(instrument.UpDownCounter, "add", -inf)
        _replace(instrument.Histogram, "record", 0)


def uninstall() -> None:
    """Give the instruments their own methods back."""
    for (owner, name), method in _upstream.items():
        setattr(owner, name, method)
    _upstream.clear()


def _replace(owner: type, name: str, lowest: float) -> None:
    method = getattr(owner, name)
    _upstream[owner, name] = method
    setattr(owner, name, _recording(method, lowest))


def _recording(upstream: Callable[..., None], lowest: float) -> Callable[..., None]:
    def record(self: Any, amount: float, attributes: Any = None, context: Any = None) -> None:
        consumer = self._measurement_consumer
        known = self.__dict__.get(_PLACES)
        if known is None or known.storages is not consumer._reader_storages:
            known = self.__dict__[_PLACES] = _Places(self, consumer)
        place = known.of(attributes) if lowest <= amount < inf and amount != -inf else None
        if place is None or not self._is_enabled():
            upstream(self, amount, attributes, context)
            return
        context = context or get_current()
        offers = known.offers
        if offers is None:
            offers = trace.get_current_span(context).get_span_context().trace_flags.sampled
        measurement = _Measurement(amount, place[0], context)
        for aggregation in place[1]:
            aggregation.aggregate(measurement, offers)

    return record


class _Measurement:
    """What an aggregation reads of a measurement."""

    __slots__ = ("attributes", "context", "time_unix_nano", "value")

    def __init__(self, value: float, attributes: dict[str, Any], context: Any) -> None:
        self.value = value
        self.time_unix_nano = time_ns()
        self.attributes = attributes
        self.context = context


_Place = tuple[dict[str, Any], list[Any]]
"""A copy of the attributes, and the aggregations of their series: one for each reader and view."""


class _Places:
    """Where the measurements of one instrument go, by their attributes, as long as the readers are the same."""

    def __init__(self, owner: Any, consumer: Any) -> None:
        self.storages = consumer._reader_storages
        self._owner = owner
        self._by_key: dict[Any, _Place | None] = {}
        kind = type(consumer._sdk_config.exemplar_filter)
        self._can_be_known = kind in _OFFERS
        self.offers = _OFFERS.get(kind)

    def of(self, attributes: Any) -> _Place | None:
        """The place for these attributes, `None` if the SDK has to find it."""
        if not self._can_be_known:
            return None
        key: Any = ()
        try:
            if attributes:
                values = attributes.values()
                # 1, 1.0 and True are equal, and three series.
                key = (*attributes, *values, *map(type, values))
            return self._by_key[key]
        except KeyError:
            return self._look_up(key, attributes)
        except (AttributeError, TypeError):
            return None  # a list as a value, or no mapping at all

    def _look_up(self, key: Any, attributes: Mapping[str, Any] | None) -> _Place | None:
        copy = dict(attributes or {})
        place = None
        try:
            found = aggregations(self._owner, self.storages, copy) if are_plain(copy) else None
            place = None if found is None else (copy, found)
        except Exception as error:
            self._can_be_known = False
            _logger.warning("the time series of %s could not be looked up: %r", self._owner.name, error)
        if len(self._by_key) >= _MAX_KNOWN:
            self._by_key.clear()
        self._by_key[key] = place
        return place


def aggregations(owner: Any, storages: Mapping[Any, Any], attributes: dict[str, Any]) -> list[Any] | None:
    """The aggregations of a time series, one for each reader and view.

    Args:
        owner: The instrument.
        storages: What its readers keep.
        attributes: The attributes of the series, which need no cleaning.

    Returns:
        The aggregations, or `None` if the SDK has to find them for each measurement.
    """
    found = []
    for storage in storages.values():
        for match in storage._get_or_init_view_instrument_match(owner):
            if getattr(match, "_reset_on_collect", True):
                # Delta temporality throws its aggregations away at each collection.
                return None
            kept = match._view._attribute_keys
            seen = attributes if kept is None else {name: attributes[name] for name in attributes if name in kept}
            key = _view_instrument_match._hash_attributes(seen)
            with match._lock:
                found.append(match._get_or_create_aggregation(key, seen))
    return found


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
            kind = type(consumer._sdk_config.exemplar_filter)
            self._aggregations = None
            if kind in _OFFERS and hasattr(self._instrument, "_is_enabled"):
                self._offers = _OFFERS[kind]
                self._aggregations = aggregations(self._instrument, self._storages, self.attributes)
        except Exception as error:
            self._lean = False
            self._aggregations = None
            _logger.warning("the time series of %s could not be looked up: %r", self._instrument, error)
