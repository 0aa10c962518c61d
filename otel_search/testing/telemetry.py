"""The telemetry of one test: what was recorded, and assertions on it that say what there was instead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from otel_search import logs as process_logs
from otel_search import telemetry as process_telemetry
from otel_search.testing import points, shown
from otel_search.testing.expected import Expected, Name, has_name
from otel_search.testing.fixed import FixedClock
from otel_search.testing.providers import providers
from otel_search.viewer.telemetry import LogRecord, MetricPoint, Span

if TYPE_CHECKING:
    import fastapi

T = TypeVar("T")

_NONE: Mapping[str, Any] = MappingProxyType({})


class Telemetry:
    """What was recorded since a test began; a context manager, whose end changes nothing that was recorded.

    Expected attributes are given by full name in a dictionary, or by the end of the name as a keyword, with
    `_` for its dots: `took=3` is `search.took`. An expected value is compared; `...` is any value, `None` no such
    attribute, a compiled pattern is searched for, and a function is asked.

    Attributes:
        clock: The time of spans and log records. It begins with 2026 and moves by a millisecond at each reading.
    """

    def __init__(self) -> None:
        self.clock = FixedClock()
        self._series: points.Series = {}
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        process_telemetry.stand_in = providers
        process_telemetry.set_up()
        process_logs.take_again()  # which the end of another test's application may have given back
        recording = providers()
        recording.clear()
        recording.stamp.clock = self.clock
        self._ends.enter_context(self.clock.in_charge())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.close()
        providers().stamp.clock = None

    @property
    def spans(self) -> list[Span]:
        """The spans that have ended, in the order of their start."""
        return sorted(providers().spans.kept, key=lambda span: span.start)

    @property
    def logs(self) -> list[LogRecord]:
        """The log records, in the order in which they came."""
        return list(providers().logs.kept)

    @property
    def metrics(self) -> list[MetricPoint]:
        """One point for each time series: counters and histograms of this test alone, others as they are now."""
        points.add(self._series, providers().points())
        return list(self._series.values())

    def clear(self) -> None:
        """Forget what was recorded so far, as at the beginning of a test; the clock goes on."""
        providers().clear()
        self._series.clear()

    def instrument(self, app: fastapi.FastAPI) -> None:
        """Instrument an application as the launcher does, until the test ends.

        Args:
            app: The application under test; one that calls `otel_search.instrument` itself needs no more.
        """
        from otel_search import instrument, uninstrument

        instrument(app)
        self._ends.callback(uninstrument, app)

    def assert_span(
        self,
        name: Name,
        attributes: Mapping[str, Any] = _NONE,
        *,
        kind: str | None = None,
        status: str | None = None,
        parent: Span | None = None,
        **short: Any,
    ) -> Span:
        """Assert that there was exactly one such span.

        Args:
            name: Its name, or a compiled pattern.
            attributes: Expected attributes by full name.
            kind: `SERVER`, `CLIENT`, `INTERNAL`, `PRODUCER` or `CONSUMER`.
            status: `UNSET`, `OK` or `ERROR`.
            parent: The span that it should be a child of.
            **short: Expected attributes by the end of their name.

        Returns:
            The span.

        Raises:
            AssertionError: If there was none or more than one; its text says what there was.
        """
        __tracebackhide__ = True
        found = self._spans(name, Expected(attributes, short), kind, status, parent)
        return _the_one(found, "span", name, shown.spans(self.spans))

    def assert_no_span(self, name: Name, attributes: Mapping[str, Any] = _NONE, **short: Any) -> None:
        """Assert that there was no such span; arguments as for `assert_span`.

        Raises:
            AssertionError: If there was one.
        """
        __tracebackhide__ = True
        found = self._spans(name, Expected(attributes, short), None, None, None)
        _none(found, "span", name, shown.spans(self.spans))

    def assert_log(
        self,
        event: Name,
        attributes: Mapping[str, Any] = _NONE,
        *,
        level: str | None = None,
        span: Span | None = None,
        **short: Any,
    ) -> LogRecord:
        """Assert that there was exactly one such log record.

        Args:
            event: Its message, or a compiled pattern.
            attributes: Expected fields by full name.
            level: `debug`, `info`, `warning`, `error` or `critical`.
            span: The span that it should have been written in.
            **short: Expected fields by the end of their name.

        Returns:
            The log record.

        Raises:
            AssertionError: If there was none or more than one; its text says what there was.
        """
        __tracebackhide__ = True
        found = self._logs(event, Expected(attributes, short), level, span)
        return _the_one(found, "log record", event, shown.logs(self.logs))

    def assert_no_log(
        self, event: Name, attributes: Mapping[str, Any] = _NONE, *, level: str | None = None, **short: Any
    ) -> None:
        """Assert that there was no such log record; arguments as for `assert_log`.

        Raises:
            AssertionError: If there was one.
        """
        __tracebackhide__ = True
        found = self._logs(event, Expected(attributes, short), level, None)
        _none(found, "log record", event, shown.logs(self.logs))

    def assert_metric(
        self,
        name: Name,
        value: Any = ...,
        attributes: Mapping[str, Any] = _NONE,
        *,
        count: Any = ...,
        **short: Any,
    ) -> MetricPoint:
        """Assert that exactly one time series of a metric has these attributes and this value.

        Args:
            name: The metric's name as OpenTelemetry has it, or a compiled pattern.
            value: What a counter counted in this test, a gauge shows, or the sum of a histogram's measurements.
            attributes: Expected attributes by full name.
            count: How many measurements a histogram has of this test.
            **short: Expected attributes by the end of their name.

        Returns:
            The point.

        Raises:
            AssertionError: If there was none or more than one; its text says what there was.
        """
        __tracebackhide__ = True
        measured = self.metrics
        expected = Expected(attributes, short)
        numbers = Expected({"value": value, "count": count}, {})
        found = _sorted_out(
            measured,
            lambda point: has_name(name, point.name),
            lambda point: (
                expected.differences(point.attributes)
                + numbers.differences({"value": point.value, "count": point.count})
            ),
        )
        return _the_one(found, "point", name, shown.metrics(_same_first(name, measured)))

    def _spans(
        self, name: Name, expected: Expected, kind: str | None, status: str | None, parent: Span | None
    ) -> _SortedOut[Span]:
        def differences(span: Span) -> list[str]:
            asked = {"kind": kind, "status": status, "parent": parent and parent.span_id}
            has = {"kind": span.kind, "status": span.status, "parent": span.parent_span_id}
            return expected.differences(span.attributes) + _different(asked, has)

        return _sorted_out(self.spans, lambda span: has_name(name, span.name), differences)

    def _logs(self, event: Name, expected: Expected, level: str | None, span: Span | None) -> _SortedOut[LogRecord]:
        def differences(record: LogRecord) -> list[str]:
            asked = {"level": level and _severity(level), "span": span and span.span_id}
            has = {"level": record.severity, "span": record.span_id}
            return expected.differences(record.attributes) + _different(asked, has)

        return _sorted_out(self.logs, lambda record: has_name(event, record.body), differences)

    def __str__(self) -> str:
        return "\n".join([shown.spans(self.spans), shown.logs(self.logs), shown.metrics(self.metrics)])


def _severity(level: str) -> str:
    return {"warning": "WARN", "critical": "FATAL"}.get(level.lower(), level.upper())


def _different(asked: Mapping[str, Any], has: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {has[name]!r}, expected {value!r}"
        for name, value in asked.items()
        if value is not None and has[name] != value
    ]


@dataclass(frozen=True)
class _SortedOut(Generic[T]):
    """What has the name: those that are as expected, and the others with their differences."""

    good: list[T]
    others: list[tuple[T, list[str]]]


def _sorted_out(
    found: Iterable[T], has_the_name: Callable[[T], bool], differences: Callable[[T], list[str]]
) -> _SortedOut[T]:
    named = [(item, differences(item)) for item in found if has_the_name(item)]
    return _SortedOut([item for item, found in named if not found], [pair for pair in named if pair[1]])


def _the_one(found: _SortedOut[T], what: str, name: Name, all_of_them: str) -> T:
    __tracebackhide__ = True
    if len(found.good) == 1:
        return found.good[0]
    if found.good:
        text = f"{len(found.good)} {what}s {_text(name)} where 1 was expected"
    elif found.others:
        nearest = min((differences for _, differences in found.others), key=len)
        text = "\n".join([f"no {what} {_text(name)} as expected; of the nearest", *(f"  {line}" for line in nearest)])
    else:
        text = f"no {what} {_text(name)}"
    raise AssertionError(f"{text}\n{all_of_them}")


def _none(found: _SortedOut[T], what: str, name: Name, all_of_them: str) -> None:
    __tracebackhide__ = True
    if found.good:
        raise AssertionError(f"{len(found.good)} {what}s {_text(name)} where none was expected\n{all_of_them}")


def _text(name: Name) -> str:
    return repr(name) if isinstance(name, str) else f"with {name.pattern!r}"


def _same_first(name: Name, measured: list[MetricPoint]) -> list[MetricPoint]:
    """Those of the metric, if it was measured at all: there are many others."""
    return [point for point in measured if has_name(name, point.name)] or measured
