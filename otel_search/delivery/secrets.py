"""Secrets in spans and log records that others make: the last gate before an exporter.

What this project says itself is without them from the beginning. The others' spans are looked at
where they are encoded, log records that did not come through the log chain when they are emitted.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status, TraceState

from otel_search import semconv
from otel_search.delivery.batches import SpanBatches
from otel_search.redaction import MARKER, Redactor

_logger = logging.getLogger(__name__)

# Written by instrumentations only, about themselves: no caller and no application has a say in them.
_PLAIN = frozenset(
    {
        semconv.BATCH_FAILED,
        semconv.DB_OPERATION,
        semconv.DB_QUERY_SUMMARY,
        semconv.DB_STATUS_CODE,
        semconv.DB_SYSTEM,
        semconv.ERROR_TYPE,
        semconv.EXCEPTION_TYPE,
        semconv.HTTP_REQUEST_METHOD,
        semconv.HTTP_RESPONSE_STATUS_CODE,
        semconv.HTTP_ROUTE,
        semconv.OUTCOME,
        semconv.PROTOCOL_VERSION,
        semconv.QUERY_HASH,
        semconv.QUERY_TYPE,
        semconv.REQUEST_ID,  # looked at when it arrived
        semconv.SERVER_ADDRESS,
        semconv.URL_SCHEME,
    }
)


class Gate:
    """Hides secrets in what leaves.

    Args:
        redactor: Knows what they are.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        # Nearly all attributes are the same from span to span, so that they are looked at once.
        self._is_known_clean = functools.lru_cache(maxsize=4096)(self._is_clean)

    def exported(self, exporter: Any) -> Any:
        """Let a span exporter send no secrets in spans that it encodes itself.

        Args:
            exporter: Its `export` is wrapped in place, since other code tells exporters apart by their class.
        """
        export = exporter.export

        def hiding(batch: Sequence[ReadableSpan], *args: Any, **kwargs: Any) -> Any:
            for item in batch:
                if isinstance(item, ReadableSpan):  # not if it was encoded, and looked at, when it ended
                    self.span(item)
            return export(batch, *args, **kwargs)

        exporter.export = hiding
        return exporter

    def watch(self, provider: Any) -> None:
        """Stand before everything that gets the spans or log records of a provider, now and later.

        Args:
            provider: The SDK's, ours or the application's own. Our own span processors are left alone: they
                or their exporters have the gate.
        """
        for several, processors, add, method, before in (
            ("_active_span_processor", "_span_processors", "add_span_processor", "on_end", self.span),
            (
                "_multi_log_record_processor",
                "_log_record_processors",
                "add_log_record_processor",
                "on_emit",
                self._before_record,
            ),
        ):
            if hasattr(provider, add):
                stand = functools.partial(_stand_before, method=method, look=before)
                for processor in getattr(getattr(provider, several, None), processors, ()):
                    stand(processor)
                _stand_before(provider, add, stand)
        owner = getattr(provider, "_sdk_config", provider)  # a meter provider's
        resource = getattr(owner, "resource", None) or getattr(owner, "_resource", None)
        if isinstance(resource, Resource):
            self._guarded(self._resource_in_place, resource)

    def span(self, span: ReadableSpan) -> None:
        """Hide the secrets of an ended span in place: in its name, attributes, events, links, status, trace state."""
        self._once(self._span, span, span)

    def _before_record(self, log_record: Any) -> None:
        # Ours come out of the chain, where every value is looked at.
        if not getattr(log_record, "is_safe", False):
            self._once(self._record, log_record.log_record, log_record)

    def _once(self, hide: Callable[[Any], None], item: Any, marked: Any) -> None:
        if not getattr(marked, _LOOKED_AT, False):
            self._guarded(hide, item)
            setattr(marked, _LOOKED_AT, True)

    def _guarded(self, hide: Callable[[Any], None], item: Any) -> None:
        try:
            hide(item)
        except Exception as error:
            _logger.warning("secrets could not be looked for: %s", type(error).__name__)

    def _span(self, span: ReadableSpan) -> None:
        text = self._redactor.text
        if not self._is_known_clean("", span._name):
            span._name = text(span._name)
        attributes = self._attributes(span._attributes)
        if attributes is not None:
            span._attributes = attributes
        if span._events:
            span._events = [self._event(event) for event in span._events]
        if span._links:
            span._links = [self._link(link) for link in span._links]
        description = span._status.description
        if description:
            span._status = Status(span._status.status_code, text(description))
        if span._context is not None and span._context.trace_state:
            span._context = self._context(span._context)

    def _record(self, record: Any) -> None:
        record.body = self._value(record.body)
        attributes = self._attributes(record.attributes)
        if attributes is not None:
            record.attributes = attributes
        if getattr(record, "event_name", None):
            record.event_name = self._redactor.text(record.event_name)

    def _resource_in_place(self, resource: Resource) -> None:
        # All that a provider has made holds this one object.
        attributes: Any = resource._attributes
        getattr(attributes, "_dict", attributes).update(self._changed(attributes))

    def _event(self, event: Event) -> Event:
        attributes = self._attributes(event.attributes)
        name = self._redactor.text(event.name)
        if attributes is None and name == event.name:
            return event
        return Event(name, event.attributes if attributes is None else attributes, event.timestamp)

    def _link(self, link: Link) -> Link:
        attributes = self._attributes(link.attributes)
        context = self._context(link.context) if link.context.trace_state else link.context
        if attributes is None and context is link.context:
            return link
        return Link(context, link.attributes if attributes is None else attributes)

    def _context(self, context: SpanContext) -> SpanContext:
        state = {key: self._pair(key, value) for key, value in context.trace_state.items()}
        if state == dict(context.trace_state.items()):
            return context
        # A vendor's entry with a secret in it is of no use without it, and a marker is no valid value.
        kept = TraceState([(key, value) for key, value in context.trace_state.items() if state[key] == value])
        return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, kept)

    def _attributes(self, attributes: Any) -> Any:
        """Attributes without secrets, or `None` if there are none to hide."""
        if not attributes:
            return None
        hidden = self._changed(attributes)
        if not hidden:
            return None
        if not isinstance(attributes, BoundedAttributes):
            return {**attributes, **hidden}
        bounded: Any = copy.copy(attributes)  # with its limits, and what they have dropped
        bounded._dict = {**bounded._dict, **hidden}
        return bounded

    def _changed(self, attributes: Any) -> dict[str, Any]:
        """Those attributes whose values have to be others."""
        changed: dict[str, Any] = {}
        is_clean = self._is_known_clean
        # Nobody writes to them any more: they can be read without the lock that the SDK takes for each one.
        plain: Mapping[str, Any] = getattr(attributes, "_dict", attributes)
        for name, value in plain.items():
            kind = type(value)
            if is_clean(name, value) if kind is str and len(value) < _LONG else kind in _NUMBERS and is_clean(name, ""):
                continue
            safe = self._pair(name, value)
            if safe != value:
                changed[name] = safe
        return changed

    def _is_clean(self, name: str, value: str) -> bool:
        return name in _PLAIN or (self._redactor.field(name) is None and self._redactor.hidden(value) == value)

    def _pair(self, name: str, value: Any) -> Any:
        kind = self._redactor.field(name)
        if kind is None and isinstance(value, Mapping | list | tuple):
            kind = self._redactor.many(name)
        if kind is None:
            return self._value(value)
        if value is None or _is_marker(value):
            return value
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            if all(map(_is_marker, value)):
                return value
            return (self._redactor.hide(kind),)
        return self._redactor.hide(kind)

    def _value(self, value: Any) -> Any:
        """A value of a log record or an attribute, at any depth."""
        if isinstance(value, str):
            return self._redactor.text(value)
        if isinstance(value, bytes):
            plain = value.decode("utf-8", "replace")
            safe = self._redactor.text(plain)
            return value if safe == plain else safe.encode()
        if isinstance(value, Mapping):
            return {
                self._redactor.text(name) if isinstance(name, str) else name: self._pair(str(name), item)
                for name, item in value.items()
            }
        if isinstance(value, Sequence):
            return self._list(value)
        return value

    def _list(self, values: Sequence[Any]) -> Sequence[Any]:
        kinds = self._redactor.kinds_in(values) or [None] * len(values)
        safe = [
            self._value(value) if kind is None or value is None or _is_marker(value) else self._redactor.hide(kind)
            for value, kind in zip(values, kinds, strict=True)
        ]
        return tuple(safe) if isinstance(values, tuple) else safe


def _is_marker(value: Any) -> bool:
    return isinstance(value, str) and MARKER.fullmatch(value) is not None


_NUMBERS = frozenset({bool, int, float, type(None)})

_LONG = 1024
"""Characters from which on a text is not worth remembering."""


_LOOKED_AT = "_otel_search_looked_at"


def _stand_before(owner: Any, method: str, look: Callable[[Any], None]) -> None:
    """Let `look` see what a method of one argument is called with, before it is."""
    if isinstance(owner, SpanBatches):
        return
    call = getattr(owner, method)

    def looking(item: Any, *args: Any, **kwargs: Any) -> Any:
        look(item)
        return call(item, *args, **kwargs)

    with contextlib.suppress(AttributeError):  # a class with slots: it keeps what is its own
        setattr(owner, method, looking)
