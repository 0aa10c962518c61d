"""One run of a business operation: its span, its measurement, its line."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import perf_counter, time
from typing import Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_search import logs, semconv, settings
from otel_search.logs.event import exception_type
from otel_search.logs.values import Values
from otel_search.redaction import redactor_of

LOGGER = logging.getLogger("otel_search.operation")

_KEY = otel_context.create_key("otel_search_operation")
_MAX_NAMES = 256
_names: set[str] = set()


class Spec(Protocol):
    """What a run needs to know of its operation."""

    name: str
    log: bool
    log_start: bool

    def outcome(self, error: BaseException | None, failed: bool) -> str:
        """What came of a run."""


@functools.cache
def _duration() -> Any:
    return semconv.OPERATION_DURATION.on(metrics.get_meter(semconv.SCOPE))


@functools.cache
def _tracer() -> trace.Tracer:
    return trace.get_tracer(semconv.SCOPE)


@functools.cache
def _values() -> Values:
    return Values(redactor_of(settings.current()))


class Run:
    """One run of an operation, from its start to its end.

    Attributes:
        name: The operation's name.
        context: The OpenTelemetry context of what it does.
    """

    def __init__(self, spec: Spec, attributes: Mapping[str, Any]) -> None:
        self.name = spec.name
        self._spec = spec
        self._attributes: dict[str, Any] = {}
        self._span: trace.Span = trace.INVALID_SPAN
        self.context = otel_context.get_current()
        self._recording = not settings.current().sdk_disabled and is_instrumentation_enabled()
        if self._recording:
            self._attributes = _safe(attributes)
            self._span = _tracer().start_span(
                spec.name, attributes={**_of_span(self._attributes), semconv.OPERATION_NAME: spec.name}
            )
            self.context = otel_context.set_value(_KEY, self, trace.set_span_in_context(self._span))
        self._started = perf_counter()
        if self._recording and spec.log_start:
            self._say(logging.INFO, semconv.OPERATION_STARTED, {})

    def set(self, attributes: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Add attributes to the span and the log line of this run.

        Args:
            attributes: By name, for names that are no identifiers. A value for `error.type` says that
                the operation failed, without an exception.
            **more: Others.
        """
        if not self._recording:
            return
        with _guarded():
            safe = _safe({**(attributes or {}), **more})
            self._attributes.update(safe)
            self._span.set_attributes(_of_span(safe))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this run the current one for a while; what the while has left in the context comes back with the next."""
        token = otel_context.attach(self.context)
        try:
            yield
        finally:
            self.context = otel_context.get_current()
            detach(token)

    def end(self, error: BaseException | None = None, outcome: str | None = None) -> None:
        """End the run; only the first call counts.

        Args:
            error: What ended it, if it was an exception.
            outcome: In place of what follows from `error`.
        """
        if self._recording:
            self._recording = False
            with _guarded():
                self._end(perf_counter() - self._started, error, outcome)

    def _end(self, seconds: float, error: BaseException | None, outcome: str | None) -> None:
        own: dict[str, Any] = {semconv.OPERATION_NAME: self.name}
        message = ""
        if error is not None:
            own[semconv.ERROR_TYPE] = exception_type(type(error))
            message = _values().of_object(error)
        elif semconv.ERROR_TYPE in self._attributes:
            own[semconv.ERROR_TYPE] = str(self._attributes[semconv.ERROR_TYPE])
        outcome = outcome or self._spec.outcome(error, semconv.ERROR_TYPE in own)
        own[semconv.OPERATION_OUTCOME] = outcome
        failed = outcome == "error"
        if failed:
            self._span.set_status(trace.StatusCode.ERROR, message or None)
        self._span.set_attributes(own)
        labels = {semconv.OPERATION_NAME: _bounded(self.name)}
        if semconv.ERROR_TYPE in own:
            labels[semconv.ERROR_TYPE] = own[semconv.ERROR_TYPE]
        _duration().record(seconds, labels, context=self.context)
        self._span.end()
        own[semconv.LOG_DURATION] = round(seconds, 6)
        if message:
            own[semconv.EXCEPTION_MESSAGE] = message
        if self._spec.log:
            self._say(logging.ERROR if failed else logging.INFO, semconv.OPERATION_COMPLETED, own)

    def _say(self, level: int, event: str, own: Mapping[str, Any]) -> None:
        if not LOGGER.isEnabledFor(level):
            return
        fields = {**self._attributes, semconv.OPERATION_NAME: self.name, **own}
        chain = logs.chain()
        if chain is None:
            LOGGER.log(level, "%s: %s", event, self.name, extra={"otel_search_fields": fields})
        else:
            chain.emit(created=time(), level=level, event=event, logger=LOGGER.name, fields=fields, within=self.context)


class _NoRun(Run):
    """Takes the place of a run that could not be started."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._recording = False
        self.context = otel_context.get_current()


def begun(spec: Spec, attributes: Mapping[str, Any]) -> Run:
    """A run of an operation, which has begun."""
    try:
        return Run(spec, attributes)
    except Exception as error:
        LOGGER.warning("the telemetry of an operation failed: %r", error)
        return _NoRun(spec.name)


def current() -> Run | None:
    """The innermost run in this context."""
    run = otel_context.get_value(_KEY)
    return run if isinstance(run, Run) else None


@contextmanager
def _guarded() -> Iterator[None]:
    """Whatever goes wrong in the telemetry of an operation, the operation goes on."""
    try:
        yield
    except Exception as error:
        LOGGER.warning("the telemetry of an operation failed: %r", error)


def detach(token: Any) -> None:
    """Give back the context that a run has replaced."""
    # Where a run ends in another context than it began in, there is nothing to give back.
    with suppress(ValueError):
        otel_context._RUNTIME_CONTEXT.detach(token)


def _safe(attributes: Mapping[str, Any]) -> dict[str, Any]:
    field = _values().field
    return {str(name): field(str(name), value) for name, value in attributes.items()}


def _of_span(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a span can hold of them: plain values, and lists of one kind; the rest as JSON."""
    return {name: _as_attribute(value) for name, value in attributes.items() if value is not None}


def _as_attribute(value: Any) -> Any:
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        return value if len(kinds) == 1 and kinds <= {str, bool, int, float} else json.dumps(value)
    return json.dumps(value) if isinstance(value, dict) else value


def _bounded(name: str) -> str:
    if name not in _names:
        if len(_names) >= _MAX_NAMES:
            return "_other"
        _names.add(name)
    return name
