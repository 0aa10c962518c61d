"""Spans of the SDK that are made with what they need, and with the rest when it is asked for.

`Tracer.start_span` is the SDK's, line by line, without what has no effect in the usual case: a
sampler's result that is known beforehand, a list of events that stays empty, the checks of
attributes that are plain, a copy of the ended span for a processor that only reads it.
"""

from __future__ import annotations

import threading
from time import time_ns
from types import MappingProxyType
from typing import Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from otel_search.lean.attributes import are_plain

# What is written out here is the SDK's inside: another version may have another one.
_IS_KNOWN = sdk_version.startswith("1.45.")
if _IS_KNOWN:
    from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics

_DICTS = frozenset({dict, MappingProxyType})
_FLAGS = tuple(TraceFlags(flags) for flags in range(4))
_RANDOM: int = getattr(TraceFlags, "RANDOM_TRACE_ID", 2)
_SAMPLED: int = TraceFlags.SAMPLED

_upstream: Any = sdk.Tracer.start_span


def install() -> None:
    """Make lean spans."""
    if _IS_KNOWN:
        setattr(sdk.Tracer, "start_span", start_span)  # noqa: B010 - mypy lets no method be assigned


def uninstall() -> None:
    """Make the SDK's spans."""
    setattr(sdk.Tracer, "start_span", _upstream)  # noqa: B010


class LeanSpan(sdk._Span):
    """A span of the SDK's; see `start_span`."""

    _start_time: int | None = None
    _end_time: int | None = None
    _trace_config = None
    _status = trace.Status(trace.StatusCode.UNSET)
    # Made when the first one is added.
    _events: Any = ()
    _links: Any = ()

    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics = None
    _attributes: Any
    _context: SpanContext

    def __init__(
        self,
        tracer: sdk.Tracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: BoundedAttributes,
    ) -> None:
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._attributes = attributes
        self._sampler = tracer.sampler
        self._resource = tracer.resource
        self._span_processor = tracer.span_processor
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer._instrumentation_scope
        self._limits = tracer._span_limits
        self._lock = threading.Lock()

    def get_span_context(self) -> SpanContext:
        """The span's context."""
        return self._context

    def _add_event(self, event: Any) -> None:
        if type(self._events) is tuple:
            with self._lock:
                if type(self._events) is tuple:
                    self._events = self._new_events()  # type: ignore[no-untyped-call]
        super()._add_event(event)

    def _add_link(self, link: Any) -> None:
        if type(self._links) is tuple:
            with self._lock:
                if type(self._links) is tuple:
                    self._links = self._new_links(())
        super()._add_link(link)

    def end(self, end_time: int | None = None) -> None:
        """End the span, as the SDK does; processors that only read it get it as it is."""
        with self._lock:
            if self._end_time is not None:
                sdk.logger.warning("Calling end() on an ended span.")
                return
            self._end_time = time_ns() if end_time is None else end_time
            self._attributes._immutable = True
        processor = self._span_processor
        processor._on_ending(self)
        if type(processor) is not sdk.SynchronousMultiSpanProcessor:
            processor.on_end(self._readable_span())
            return
        readable = None
        for each in processor._span_processors:
            if getattr(each, "reads_at_end", False):
                each.on_end(self)
            else:
                if readable is None:
                    readable = self._readable_span()
                each.on_end(readable)


def start_span(
    self: sdk.Tracer,
    name: str,
    context: Any = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Any = None,
    links: Any = (),
    start_time: int | None = None,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
) -> trace.Span:
    """`Tracer.start_span`, with the same arguments and the same outcome."""
    limits = self._span_limits
    plain = attributes is None or (
        type(attributes) in _DICTS
        and limits.max_span_attribute_length is None
        and (limits.max_span_attributes is None or len(attributes) <= limits.max_span_attributes)
        and are_plain(attributes)
    )
    if links or not plain or type(self._tracer_metrics) is not NoOpTracerMetrics or not self._is_enabled():
        theirs: trace.Span = _upstream(
            self, name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
        return theirs
    parent: SpanContext | None = trace.get_current_span(context).get_span_context()
    ids = self.id_generator
    if parent is None or not parent.is_valid:
        parent = None
        trace_id = ids.generate_trace_id()
        flags = _RANDOM if ids.is_trace_id_random() else 0
    else:
        trace_id = parent.trace_id
        flags = parent.trace_flags & _RANDOM
    sampler = self.sampler
    known = _known_decision(sampler, parent)
    if known is None:
        result = sampler.should_sample(context, trace_id, name, kind, attributes, ())
        decision, state = result.decision, result.trace_state
        is_recording, is_sampled = decision.is_recording(), decision.is_sampled()
        container = _container(limits, result.attributes) if is_recording else None
    else:
        state = None if parent is None else parent.trace_state
        is_recording = is_sampled = known
        container = _plain_container(limits, attributes) if known else None
    if is_sampled:
        flags |= _SAMPLED
    span_context = SpanContext(trace_id, ids.generate_span_id(), False, _FLAGS[flags], state)
    if container is None:
        return NonRecordingSpan(span_context)
    span = LeanSpan(self, name, span_context, parent, kind, container)
    span._record_exception = record_exception
    span._set_status_on_exception = set_status_on_exception
    span._start_time = time_ns() if start_time is None else start_time
    self.span_processor.on_start(span, parent_context=context)
    return span


def _known_decision(sampler: sampling.Sampler, parent: SpanContext | None) -> bool | None:
    """Whether the default sampler takes the span; `None` if the sampler has to be asked."""
    if sampler is not sampling.DEFAULT_ON and type(sampler) is not sampling.ParentBasedTraceIdRatio:
        return True if sampler is sampling.ALWAYS_ON else None
    if parent is not None:
        return bool(parent.trace_flags & _SAMPLED)
    return True if sampler is sampling.DEFAULT_ON else None


def _container(limits: Any, attributes: Any) -> BoundedAttributes:
    """What a sampler of the user's own gives to the span."""
    return BoundedAttributes(
        limits.max_span_attributes, attributes, immutable=False, max_value_len=limits.max_span_attribute_length
    )


def _plain_container(limits: Any, attributes: Any) -> BoundedAttributes:
    """The same with a copy of attributes that are plain and few enough."""
    made = BoundedAttributes.__new__(BoundedAttributes)
    made.maxlen = limits.max_span_attributes
    made.max_value_len = limits.max_span_attribute_length
    made.dropped = 0
    made._dict = {} if attributes is None else dict(attributes)
    made._immutable = False
    made._lock = threading.Lock()
    return made
