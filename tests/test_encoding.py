"""Our encoder says what upstream's says: it is the oracle, for any span and log record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_search import encoding

text = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63 - 1)
plain = text | st.booleans() | numbers | st.floats(allow_nan=False)
arrays = st.lists(text) | st.lists(st.booleans()) | st.lists(numbers) | st.lists(st.floats(allow_nan=False))
attributes = st.dictionaries(text.filter(bool), plain | arrays.map(tuple), max_size=8)
anything = st.recursive(
    st.none() | plain | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
times = st.integers(1, 2**64 - 1)
RESOURCES = [Resource({"service.name": "a", "n": 3}), Resource({"service.name": "b"}, "https://schema/1")]
SCOPES = [
    InstrumentationScope("one", "1.0", "https://schema/2"),
    InstrumentationScope("two", attributes={"key": "value"}),
    InstrumentationScope("three", ""),
]
contexts = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])]),
)
statuses = st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why")])


class _Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> Any:
        self.spans += spans

    def shutdown(self) -> None:
        pass


spans = st.builds(
    ReadableSpan,
    name=text,
    context=contexts,
    parent=st.none() | contexts,
    resource=st.sampled_from(RESOURCES),
    attributes=attributes,
    links=st.lists(st.builds(Link, contexts, attributes), max_size=2),
    kind=st.sampled_from(list(SpanKind)),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=st.sampled_from(SCOPES),
)


@given(st.lists(spans, min_size=1, max_size=5))
def test_any_spans_are_encoded_as_upstream_encodes_them(batch: list[ReadableSpan]) -> None:
    expected = encode_spans(batch)
    assert type(expected).FromString(encoding.spans(batch)) == expected


def test_spans_of_the_sdk_with_events_and_dropped_counts_are_encoded_alike() -> None:
    kept = _Kept()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test", "1")
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        outer.set_attributes({f"key{n}": n for n in range(200)})
        for n in range(200):
            outer.add_event("event", {"n": n})
        with tracer.start_as_current_span("inner", links=[Link(outer.get_span_context())]) as inner:
            inner.record_exception(ValueError("why"))
            inner.set_status(StatusCode.ERROR, "why")
    expected = encode_spans(kept.spans)
    assert expected.resource_spans[0].scope_spans[0].spans[1].dropped_events_count
    assert type(expected).FromString(encoding.spans(kept.spans)) == expected


records = st.builds(
    ReadableLogRecord,
    st.builds(
        LogRecord,
        timestamp=st.none() | times,
        observed_timestamp=times,
        severity_text=st.none() | text,
        severity_number=st.none() | st.sampled_from(list(SeverityNumber)),
        body=anything,
        attributes=st.none() | st.dictionaries(text.filter(bool), anything, max_size=6),
        event_name=st.none() | text,
    ),
    st.sampled_from(RESOURCES),
    st.sampled_from(SCOPES),
)


@given(st.lists(records, min_size=1, max_size=5), contexts)
def test_any_log_records_are_encoded_as_upstream_encodes_them(
    batch: list[ReadableLogRecord], context: SpanContext
) -> None:
    record = batch[0].log_record
    record.trace_id, record.span_id, record.trace_flags = context.trace_id, context.span_id, context.trace_flags
    expected = encode_logs(batch)
    assert type(expected).FromString(encoding.log_records(batch)) == expected


@pytest.mark.parametrize("value", [object(), 2**64, {1, 2}])
def test_what_otlp_cannot_hold_is_left_to_upstream(value: Any) -> None:
    record = LogRecord(body="event", attributes={"it": value})
    with pytest.raises(TypeError):
        encoding.log_records([ReadableLogRecord(record, RESOURCES[0], SCOPES[0])])


def test_true_and_one_are_not_taken_for_each_other() -> None:
    scope, resource = SCOPES[0], RESOURCES[0]
    batch = [
        SimpleNamespace(
            log_record=LogRecord(body=None, attributes={"it": value}),
            resource=resource,
            instrumentation_scope=scope,
            dropped_attributes=0,
        )
        for value in (True, 1, 1.0)
    ]
    expected = encode_logs(batch)  # type: ignore[arg-type]
    assert type(expected).FromString(encoding.log_records(batch)) == expected
