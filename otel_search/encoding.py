"""Spans and log records as OTLP bytes: what the exporters' own encoder makes, several times cheaper.

Upstream builds a protobuf message for every attribute of every item and hashes the whole resource
once an item; on a busy service that is the largest part of what telemetry costs. Most attributes
are the same from one item to the next, so here each pair of name and value is encoded once and
kept. The layout is that of opentelemetry-proto 1.x (opentelemetry/proto/{trace,logs}/v1); field
tags are written out as `number << 3 | wire type`.

Pure functions over anything shaped like the SDK's `ReadableSpan` and `ReadableLogRecord`. An item may
be encoded as soon as it is complete, which spares the memory and the garbage collector all that it
was made of, and evens out the work. A value that OTLP cannot hold raises, and the caller then leaves
the item to upstream's encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

_fixed64 = struct.Struct("<Q").pack
_fixed32 = struct.Struct("<I").pack
_double = struct.Struct("<d").pack

_IS_REMOTE_KNOWN = 0x100
_IS_REMOTE = 0x200
_flags_local = b"\x85\x01" + _fixed32(_IS_REMOTE_KNOWN)
_flags_remote = b"\x85\x01" + _fixed32(_IS_REMOTE_KNOWN | _IS_REMOTE)


def spans(batch: Sequence[Any]) -> bytes:
    """An `ExportTraceServiceRequest` with these spans, grouped by resource and scope in their order.

    Raises:
        TypeError: If an attribute's value has no place in OTLP.
        UnicodeEncodeError: If a text has lone surrogates.
    """
    return _request(batch, _span)


def log_records(batch: Sequence[Any]) -> bytes:
    """An `ExportLogsServiceRequest` with these log records, grouped by resource and scope in their order.

    Raises:
        TypeError: If a body or an attribute's value has no place in OTLP.
        UnicodeEncodeError: If a text has lone surrogates.
    """
    return _request(batch, _log_record)


class Encoded:
    """A span or log record that is bytes already, and waits for the rest of its batch.

    Attributes:
        resource: The resource that it belongs to.
        instrumentation_scope: Its scope.
        data: Its field in `ScopeSpans` or `ScopeLogs`.
    """

    __slots__ = ("data", "instrumentation_scope", "resource")

    def __init__(self, item: Any, data: bytes) -> None:
        self.resource = item.resource
        self.instrumentation_scope = item.instrumentation_scope
        self.data = data


def encoded_span(span: Any) -> Encoded:
    """An ended span for a later `spans`; raises as that does."""
    return Encoded(span, b"\x12" + _sized(_span(span)))


def encoded_log_record(record: Any) -> Encoded:
    """A log record for a later `log_records`; raises as that does."""
    return Encoded(record, b"\x12" + _sized(_log_record(record)))


def encoded_event(
    source: Any,
    timestamp: int,
    severity: int,
    severity_text: str,
    body: str,
    attributes: Mapping[str, Any],
    span: tuple[int, int, int],
    observed: int,
) -> Encoded:
    """A log record for a later `log_records`, without being one of the SDK's.

    Args:
        source: The logger: it has the resource and the scope.
        timestamp: When it happened, in nanoseconds since the epoch.
        severity: Its number.
        severity_text: Its name.
        body: What happened.
        attributes: The event's fields.
        span: Trace id, span id and trace flags of the current span; zeros outside of one.
        observed: When it was logged, in nanoseconds since the epoch.

    Raises:
        TypeError: If a value has no place in OTLP.
        UnicodeEncodeError: If a text has lone surrogates.
    """
    record = _event_record(timestamp, severity, severity_text, body, attributes, span, observed)
    return Encoded(source, b"\x12" + _sized(record))


def _request(batch: Sequence[Any], encode: Callable[[Any], bytes]) -> bytes:
    # By identity: a batch has one or two resources, and hashing one means rendering it.
    resources: dict[int, tuple[Any, dict[int, tuple[Any, list[bytes]]]]] = {}
    for item in batch:
        resource, scope = item.resource, item.instrumentation_scope
        of_resource = resources.get(id(resource))
        if of_resource is None:
            of_resource = resources[id(resource)] = (resource, {})
        of_scope = of_resource[1].get(id(scope))
        if of_scope is None:
            of_scope = of_resource[1][id(scope)] = (scope, [])
        of_scope[1].append(item.data if type(item) is Encoded else b"\x12" + _sized(encode(item)))
    # A batch is large: its parts are put together once, at the end.
    parts: list[bytes] = []
    for resource, scopes in resources.values():
        of_resource_parts = [b"\x0a", _sized(_pairs(b"\x0a", resource.attributes))]
        for scope, items in scopes.values():
            items[:0] = b"\x0a", _sized(_scope(scope))
            if scope is not None and scope.schema_url:
                items.extend((b"\x1a", _text(scope.schema_url)))
            of_resource_parts += b"\x12", _length(items), *items
        if resource.schema_url:
            of_resource_parts += b"\x1a", _text(resource.schema_url)
        parts += b"\x0a", _length(of_resource_parts), *of_resource_parts
    return b"".join(parts)


def _length(parts: list[bytes]) -> bytes:
    return _varint(sum(map(len, parts)))


def _scope(scope: Any) -> bytes:
    if scope is None:
        return b""
    parts = b"\x0a" + _text(scope.name) if scope.name else b""
    if scope.version:
        parts += b"\x12" + _text(scope.version)
    return parts + _pairs(b"\x1a", scope.attributes)


def _span(span: Any) -> bytes:
    context = span.context
    parent = span.parent
    events, links = span.events, span.links
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if context.trace_state:
        parts += (b"\x1a", _text(",".join([f"{key}={value}" for key, value in context.trace_state.items()])))
    if parent:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    parts += (b"\x2a", _kept_text(span.name), _KINDS[span.kind.value], b"\x39", _fixed64(span.start_time))
    if span.end_time:
        parts += (b"\x41", _fixed64(span.end_time))
    parts.append(_pairs(b"\x4a", _plain(span)))
    if span.dropped_attributes:
        parts += (b"\x50", _varint(span.dropped_attributes))
    if events:
        parts += [b"\x5a" + _sized(_event(event)) for event in events]
    if span.dropped_events:
        parts += (b"\x60", _varint(span.dropped_events))
    if links:
        parts += [b"\x6a" + _sized(_link(link)) for link in links]
    if span.dropped_links:
        parts += (b"\x70", _varint(span.dropped_links))
    status = span.status
    if status is not None:
        parts += (b"\x7a", _status(status.status_code.value, status.description))
    parts.append(_flags_remote if parent and parent.is_remote else _flags_local)
    return b"".join(parts)


# INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER: the SDK counts from 0, OTLP has UNSPECIFIED there.
_KINDS = tuple(bytes((0x30, kind)) for kind in range(1, 6))


def _plain(span: Any) -> Mapping[str, Any] | None:
    # The span has ended: its attributes can be read without the lock that the SDK takes for each one.
    attributes: Any = span._attributes
    plain: Mapping[str, Any] | None = getattr(attributes, "_dict", attributes)
    return plain


def _event(event: Any) -> bytes:
    encoded = b"\x09" + _fixed64(event.timestamp) + b"\x12" + _kept_text(event.name)
    encoded += _pairs(b"\x1a", event.attributes)
    return encoded + b"\x20" + _varint(event.dropped_attributes) if event.dropped_attributes else encoded


def _link(link: Any) -> bytes:
    context = link.context
    encoded = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    encoded += _pairs(b"\x22", link.attributes)
    if link.dropped_attributes:
        encoded += b"\x28" + _varint(link.dropped_attributes)
    flags: bytes = _fixed32(_IS_REMOTE_KNOWN | (_IS_REMOTE if context.is_remote else 0))
    return bytes(encoded) + b"\x35" + flags


@lru_cache(maxsize=64)
def _status(code: int, description: str | None) -> bytes:
    encoded = b"\x12" + _text(description) if description else b""
    return _sized(encoded + bytes((0x18, code)) if code else encoded)


def _log_record(data: Any) -> bytes:
    record = data.log_record
    attributes = record.attributes
    severity = record.severity_number
    encoded = _event_record(
        record.timestamp,
        0 if severity is None else severity.value,
        record.severity_text,
        record.body,
        getattr(attributes, "_dict", attributes),
        (record.trace_id, record.span_id, record.trace_flags),
        record.observed_timestamp,
    )
    # Fields of a message may come in any order.
    if data.dropped_attributes:
        encoded += b"\x38" + _varint(data.dropped_attributes)
    if record.event_name:
        encoded += b"\x62" + _kept_text(record.event_name)
    return encoded


def _event_record(
    timestamp: int | None,
    severity: int,
    severity_text: str | None,
    body: Any,
    attributes: Mapping[str, Any] | None,
    span: tuple[int | None, int | None, int | None],
    observed: int | None,
) -> bytes:
    parts: list[bytes] = []
    if timestamp:
        parts += (b"\x09", _fixed64(timestamp))
    if severity:
        parts += (b"\x10", _varint(severity))
    if severity_text:
        parts += (b"\x1a", _kept_text(severity_text))
    parts += (b"\x2a", _kept_body(body) if type(body) is str and len(body) < _LONG else _sized(_any(body)))
    parts.append(_pairs(b"\x32", attributes))
    trace_id, span_id, flags = span
    if flags:
        parts += (b"\x45", _fixed32(int(flags)))
    if trace_id:
        parts += (b"\x4a\x10", trace_id.to_bytes(16, "big"))
    if span_id:
        parts += (b"\x52\x08", span_id.to_bytes(8, "big"))
    if observed:
        parts += (b"\x59", _fixed64(observed))
    return b"".join(parts)


def _pairs(tag: bytes, attributes: Mapping[str, Any] | None) -> bytes:
    """Attributes as repeated `KeyValue` fields of the given tag."""
    if not attributes:
        return b""
    encoded = [
        _kept_pair(key, value)
        if type(key) is str and (len(value) < _LONG if type(value) is str else type(value) in _KEPT)
        else _other_pair(key, value)
        for key, value in attributes.items()
    ]
    return tag + tag.join(encoded)


_KEPT = frozenset({int, bool})
"""Types whose pairs are worth keeping, besides short texts."""

_LONG = 128
"""Characters from which on a text is hardly the same twice, but for these."""

_SAME_AGAIN = frozenset({"db.query.text", "url.full", "user_agent.original"})
_LONGEST = 4096


@lru_cache(maxsize=4096, typed=True)
def _kept_pair(key: str, value: str | int | bool) -> bytes:
    return _sized(_pair(key, value))


# Few, since they are long.
_kept_long_pair = lru_cache(maxsize=512)(_kept_pair.__wrapped__)


def _other_pair(key: Any, value: Any) -> bytes:
    if type(key) is str:
        if type(value) is float:
            return _before_double(key) + _double(value)
        if type(value) is str and key in _SAME_AGAIN and len(value) < _LONGEST:
            return _kept_long_pair(key, value)
    return _sized(_pair(key, value))


@lru_cache(maxsize=1024)
def _before_double(key: str) -> bytes:
    """All of a pair but the eight bytes of its value, whose length is always the same."""
    return _sized(_pair(key, 0.0))[:-8]


def _pair(key: Any, value: Any) -> bytes:
    name = b"\x0a" + _text(str(key)) if key else b""
    return name + b"\x12" + _sized(_any(value))


def _any(value: Any) -> bytes:
    """An `AnyValue`; the checks are in upstream's order."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return b"\x0a" + _text(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise TypeError(f"{value} does not fit into 64 bits")
        return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return b"\x3a" + _sized(value)
    if isinstance(value, Sequence):
        return b"\x2a" + _sized(_repeated(_any(item) for item in value))
    if isinstance(value, Mapping):
        return b"\x32" + _sized(_repeated(_pair(str(key), item) for key, item in value.items()))
    raise TypeError(f"{type(value).__name__} has no place in OTLP")


def _repeated(items: Iterable[bytes]) -> bytes:
    return b"".join([b"\x0a" + _sized(item) for item in items])


@lru_cache(maxsize=1024)
def _kept_body(text: str) -> bytes:
    return _sized(_any(text))


@lru_cache(maxsize=1024)
def _kept_text(text: str) -> bytes:
    return _text(text)


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _sized(data: bytes) -> bytes:
    length = len(data)
    return (_SMALL[length] if length < 0x4000 else _varint(length)) + data


def _varint(number: int) -> bytes:
    if number < 0x4000:
        return _SMALL[number]
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# The lengths that nearly all fields have.
_SMALL = [bytes((n,)) for n in range(0x80)] + [bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x80, 0x4000)]
