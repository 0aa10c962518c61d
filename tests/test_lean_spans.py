"""Lean spans are what the SDK's own are: for any arguments, samplers, parents, limits and processors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otel_search import lean
from otel_search.lean import spans

pytestmark = pytest.mark.skipif(not spans._IS_KNOWN, reason="this SDK's spans are not replaced")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    lean.uninstall()


class Numbered(IdGenerator):
    def __init__(self, random: bool = True) -> None:
        self._next = itertools.count(1)
        self._random = random

    def generate_span_id(self) -> int:
        return next(self._next)

    def generate_trace_id(self) -> int:
        return next(self._next)

    def is_trace_id_random(self) -> bool:
        return self._random


class Adding(sampling.Sampler):
    """Adds attributes and a trace state of its own, records without sampling, or drops."""

    def __init__(self, decision: sampling.Decision) -> None:
        self._decision = decision

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any) -> Any:
        attributes = {"sampled.by": name, "odd": [1, "x"]}
        return sampling.SamplingResult(self._decision, attributes, TraceState([("by", "me")]))

    def get_description(self) -> str:
        return "Adding"


SAMPLERS: list[Callable[[], sampling.Sampler]] = [
    lambda: sampling.DEFAULT_ON,
    lambda: sampling.DEFAULT_OFF,
    lambda: sampling.ALWAYS_ON,
    lambda: sampling.ALWAYS_OFF,
    lambda: sampling.ParentBasedTraceIdRatio(0.5),
    lambda: sampling.TraceIdRatioBased(0.5),
    lambda: sampling.ParentBased(sampling.ALWAYS_ON, local_parent_sampled=sampling.ALWAYS_OFF),
    *(lambda decision=decision: Adding(decision) for decision in sampling.Decision),
]


def parent(flags: int, remote: bool) -> Context:
    state = TraceState([("vendor", "1")])
    context = SpanContext(2**127 + 5, 77, is_remote=remote, trace_flags=TraceFlags(flags), trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


PARENTS = [None, Context(), *(parent(flags, remote) for flags in range(4) for remote in (False, True))]


def told(use: Callable[[trace.Tracer], None], **options: Any) -> list[Any]:
    """What an exporter gets of the spans that `use` makes, without their times."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=Numbered(options.pop("random", True)), shutdown_on_exit=False, **options)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use(provider.get_tracer("test", "1"))
    found = []
    for span in exporter.get_finished_spans():
        told = json.loads(span.to_json())
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time >= span.start_time
        times = [told.pop("start_time"), told.pop("end_time"), *(event.pop("timestamp") for event in told["events"])]
        assert all(times)
        found.append([told, span.dropped_attributes, span.dropped_events, span.dropped_links, span.resource])
    return found


def assert_same(use: Callable[[trace.Tracer], None], **options: Any) -> list[Any]:
    lean.uninstall()
    expected = told(use, **dict(options))
    lean.install()
    assert told(use, **options) == expected
    return expected


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("random", [False, True])
def test_every_sampler_and_parent(sampler: Callable[[], sampling.Sampler], random: bool) -> None:
    seen: list[Any] = []

    def use(tracer: trace.Tracer) -> None:
        for context in PARENTS:
            span = tracer.start_span("one", context, SpanKind.CLIENT, {"a": 1})
            below = tracer.start_span("two", trace.set_span_in_context(span, context or Context()))
            for each in (span, below):
                each.end()
                seen.append((each.is_recording(), tuple(each.get_span_context())))

    assert_same(use, sampler=sampler(), random=random)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.lists(
    st.integers(), max_size=2
)  # fmt: skip
attributes = st.none() | st.dictionaries(st.text(max_size=2) | st.integers(0, 1), values, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    first=attributes,
    more=st.lists(attributes.filter(lambda found: found is not None), max_size=3),
    links=st.none() | st.lists(st.integers(0, 2), max_size=3),
    most=st.none() | st.integers(0, 3),
    longest=st.none() | st.integers(0, 3),
    proxied=st.booleans(),
)
def test_any_attributes_events_and_links(
    first: Any, more: list[Any], links: Any, most: int | None, longest: int | None, proxied: bool
) -> None:
    def use(tracer: trace.Tracer) -> None:
        targets = None if links is None else [Link(SpanContext(5, number, False), {"n": number}) for number in links]
        given = MappingProxyType(first) if proxied and first is not None else first
        span = tracer.start_span("one", attributes=given, links=targets, record_exception=False)
        for found in more:
            span.set_attributes(found)
            span.add_event("event", found)
            span.add_link(SpanContext(7, 8, False), found)
        span.set_status(StatusCode.ERROR, "why")
        span.update_name("renamed")
        span.end()

    limits = SpanLimits(
        max_span_attributes=most if most is not None else SpanLimits.UNSET,
        max_span_attribute_length=longest if longest is not None else SpanLimits.UNSET,
        max_events=2,
        max_links=2,
    )
    assert_same(use, span_limits=limits)


def test_an_exception_in_a_context_manager() -> None:
    def use(tracer: trace.Tracer) -> None:
        for record in (True, False):
            with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("one", record_exception=record):
                raise ZeroDivisionError("secret")

    def without_lines(found: list[Any]) -> list[Any]:
        return [[event["name"] for event in told["events"]] + [told["status"]] for told, *_ in found]

    lean.uninstall()
    expected = without_lines(told(use))
    lean.install()
    assert without_lines(told(use)) == expected
    assert expected[0][0] == "exception"


def test_an_ended_span_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def use(tracer: trace.Tracer) -> None:
        span = tracer.start_span("one")
        span.end()
        span.end()
        span.set_attribute("a", 1)
        span.set_attributes({"a": 1})
        span.add_event("late")
        span.update_name("late")
        span.set_status(StatusCode.ERROR)
        assert not span.is_recording()

    lean.uninstall()
    expected = told(use)
    warned = [record.getMessage() for record in caplog.records]
    caplog.clear()
    lean.install()
    assert told(use) == expected
    assert [record.getMessage() for record in caplog.records] == warned


class Watching(SpanProcessor):
    """What a processor of the user's own may do: change a span when it starts, read it when it ends."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("seen", parent_context is not None)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def test_processors_of_others_see_the_span_start_and_get_a_copy_of_the_ended_one() -> None:
    lean.install()
    provider = TracerProvider(shutdown_on_exit=False)
    watching = Watching()
    provider.add_span_processor(watching)
    span = provider.get_tracer("test").start_span("one", Context(), attributes={"a": 1})
    assert isinstance(span, Span)
    assert isinstance(span, spans.LeanSpan)
    span.end()
    (ended,) = watching.ended
    assert type(ended) is ReadableSpan
    assert ended.attributes == {"a": 1, "seen": True}
    assert (ended.events, ended.links) == ((), ())


def test_a_given_dict_is_not_shared() -> None:
    lean.install()
    provider = TracerProvider(shutdown_on_exit=False)
    given = {"a": 1}
    span = provider.get_tracer("test").start_span("one", attributes=given)
    span.set_attribute("b", 2)
    assert given == {"a": 1}
