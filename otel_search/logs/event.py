"""The one road of a log event: from any logging library to one line on stdout and one OTLP record."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from contextvars import copy_context
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

import structlog
from opentelemetry import _logs, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import Logger, ReadWriteLogRecord

from otel_search import context, semconv
from otel_search.encoding import Encoded, encoded_event
from otel_search.logs.behind import Behind
from otel_search.logs.outputs import Outputs
from otel_search.logs.sampling import Sampler
from otel_search.logs.values import MAX_TEXT, Values
from otel_search.settings.values import Sampling

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_LOGGER = "otel_search.logs"
_logger = logging.getLogger(_LOGGER)
_OWNED = frozenset(semconv.LOG_HEAD)
_LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
# What cannot change until its line is made.
_LASTING = frozenset({str, int, float, bool, type(None)})
# The log data model's short names, where Python's differ.
_SEVERITY_TEXTS = {"warning": "WARN", "critical": "FATAL"}


class EventChain:
    """Gives each event its identity, writes it to stdout and hands it to OpenTelemetry, each once.

    Args:
        values: Makes every value safe.
        outputs: Where lines go.
        service_name: Written on each line, as a log line must say whose it is when lines are mixed.
        sampling: How repetitive events are sampled.
    """

    def __init__(self, values: Values, outputs: Outputs, service_name: str, sampling: Sampling | None = None) -> None:
        self._values = values
        self._outputs = outputs
        outputs.announce = self._announce
        outputs.before_flush, outputs.before_end = self.drain, self.end_serving
        self._service_name = service_name
        self._provider: _logs.LoggerProvider | None = None
        self._loggers: dict[str, _logs.Logger] = {}
        self._behind: Behind | None = None
        self.writes_lines = True
        """Whether this process's lines are ours to write; records are made of its events in any case."""
        self._sampler = Sampler(sampling, self._left_out) if sampling is not None and sampling.first else None

    def _left_out(self, lines: int) -> None:
        self._outputs.count_lost("logs", "sampled", lines)

    def begin_serving(self) -> None:
        """Let a thread make lines and records from now on: a server's event loop has better things to do."""
        if self._behind is None:
            self._behind = Behind(self._write)

    def end_serving(self) -> None:
        """Make each line and record at once again."""
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.end()

    def drain(self) -> None:
        """Make the lines and records of all events until now."""
        if self._sampler is not None:
            self._sampler.settle()
        behind = self._behind
        if behind is not None:
            behind.drain()

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's, and so is the thread."""
        self._behind = None

    def emit(
        self,
        *,
        created: float,
        level: int,
        event: str,
        logger: str,
        fields: Mapping[str, Any],
        exc_info: ExcInfo | None = None,
        to_stdout: bool = True,
        to_otlp: bool = True,
        within: Context | None = None,
        kind: str = "",
        is_last: bool = False,
    ) -> None:
        """Write one event; in a server a moment later, unless it is an error or the last of its request.

        Args:
            created: When it happened, in seconds since the epoch.
            level: As in `logging`.
            event: What happened.
            logger: The logger's name; the instrumentation scope of the OTLP record.
            fields: The event's own fields, any values.
            exc_info: The exception that belongs to it.
            to_stdout: Whether it is written to stdout.
            to_otlp: Whether it becomes an OTLP record.
            within: The OpenTelemetry context it happened in, if not the current one.
            kind: The event without what differs from one time to the next, if `event` has that in it.
            is_last: Whether its request has been answered: now is the time for what waits to be written.
        """
        if self._sampler is not None:
            left_out = self._sampler.admits(logger, kind or event, level)
            if left_out is None:
                return
            if left_out:
                fields = {**fields, semconv.LOG_SAMPLED: left_out}
        to_stdout = to_stdout and self.writes_lines
        caller = context.CALLER.get()
        who = {} if caller is None else caller.attributes
        behind = self._waiting_room(level, exc_info, is_last)
        if behind is None:
            self._make(created, level, event, logger, fields, exc_info, to_stdout, to_otlp, within, (), who)
            return
        safe: list[str] = []
        for name, value in fields.items():
            if type(value) not in _LASTING:
                safe.append(name)
        if safe:
            fields = {**fields, **{name: self._values.field(str(name), fields[name]) for name in safe}}
        behind.put(copy_context(), (created, level, event, logger, fields, None, to_stdout, to_otlp, within, safe, who))

    def _waiting_room(self, level: int, exc_info: ExcInfo | None, is_last: bool) -> Behind | None:
        """Where an event has to wait, or `None` if it is to be written at once, and all before it is."""
        behind = self._behind
        if behind is None:
            return None
        if exc_info is not None or level >= logging.ERROR:
            behind.drain()  # it may be the last that this process has to say
            return None
        return None if is_last and behind.catch_up() else behind

    def _write(self, *event: Any) -> None:
        try:
            self._make(*event)
        except Exception as error:
            self._outputs.count_lost("stdout", "write_failed", 1)
            _logger.debug("a log event could not be written: %r", error)

    def _make(
        self,
        created: float,
        level: int,
        event: str,
        logger: str,
        fields: Mapping[str, Any],
        exc_info: ExcInfo | None,
        to_stdout: bool,
        to_otlp: bool,
        within: Context | None,
        safe: Collection[str],
        who: Mapping[str, str],
    ) -> None:
        """Make line and record, in the context that the event was logged in; `who` is its caller, as far as known then."""
        own = self._own_fields(fields, exc_info, safe)
        where = get_current() if within is None else within
        request_id = context.REQUEST_ID.get()
        if who:
            own |= who  # bounded, and free of secrets, whatever their names look like
        text = self._values.text(event)
        span = trace.get_current_span(where).get_span_context()
        if to_stdout or self._outputs.has_file:
            head = self._head(created, level, text, logger, span, request_id)
            self._outputs.write(level, head | own, to_stdout=to_stdout)
        if to_otlp:
            if request_id is not None:
                own[semconv.LOG_REQUEST_ID] = request_id
            self._export(logger, int(created * 1e9), level, text, own, where, span)

    def _export(
        self,
        name: str,
        timestamp: int,
        level: int,
        text: str,
        own: dict[str, Any],
        where: Context,
        span: trace.SpanContext,
    ) -> None:
        provider = _logs.get_logger_provider()
        if provider is not self._provider:
            self._provider, self._loggers = provider, {}
        logger: Any = self._loggers.get(name)
        if logger is None:
            logger = self._loggers[name] = provider.get_logger(name)
        _, severity, severity_text = _level(level)
        is_short = isinstance(logger, Logger) and _fits(own)
        if is_short:
            put = _only_processor(logger)
            if put is not None:
                ids = (span.trace_id, span.span_id, span.trace_flags)
                # What OTLP cannot hold goes the long way.
                with contextlib.suppress(TypeError, UnicodeEncodeError):
                    put(encoded_event(logger, timestamp, severity.value, severity_text, text, own, ids, time.time_ns()))
                    return
        record = LogRecord(
            timestamp=timestamp,
            context=where,
            severity_number=severity,
            severity_text=severity_text,
            body=text,
            attributes=own,
        )
        if is_short:
            safe: Any = _SafeRecord(record, logger.resource, logger._instrumentation_scope, _LIMITS)
            logger.emit(safe)
        else:
            logger.emit(record)

    def _own_fields(self, fields: Mapping[str, Any], exc_info: ExcInfo | None, done: Collection[str]) -> dict[str, Any]:
        values = self._values
        safe, name_of = values.field, values.name
        own: dict[str, Any] = {}
        bound = structlog.contextvars.get_contextvars()
        for source in (bound, fields) if bound else (fields,):
            for key, value in source.items():
                name = name_of(key)
                if name in _OWNED:
                    name = f"extra.{name}"
                own[name] = value if key in done else safe(name, value)
        if exc_info is not None:
            kind, error, _ = exc_info
            own[semconv.EXCEPTION_TYPE] = exception_type(kind)
            own[semconv.EXCEPTION_MESSAGE] = values.of_object(error)
            own[semconv.EXCEPTION_STACKTRACE] = values.text(stacktrace(exc_info), 2 * MAX_TEXT)
        return own

    def _head(
        self, created: float, level: int, text: str, logger: str, span: trace.SpanContext, request_id: str | None
    ) -> dict[str, Any]:
        second, microseconds = divmod(round(created * 1e6), 1_000_000)
        head: dict[str, Any] = {
            semconv.LOG_TIMESTAMP: f"{_second(second)}.{microseconds:06d}Z",
            semconv.LOG_LEVEL: _level(level)[0],
            semconv.LOG_EVENT: text,
            semconv.LOG_LOGGER: logger,
        }
        if span.is_valid:
            head[semconv.LOG_TRACE_ID] = trace.format_trace_id(span.trace_id)
            head[semconv.LOG_SPAN_ID] = trace.format_span_id(span.span_id)
            head[semconv.LOG_TRACE_FLAGS] = int(span.trace_flags)
        if request_id is not None:
            head[semconv.LOG_REQUEST_ID] = request_id
        head[semconv.LOG_SERVICE_NAME] = self._service_name
        return head

    def _announce(self, level: int, event: str, fields: Mapping[str, Any], as_line: bool) -> None:
        self.emit(
            created=time.time(),
            level=level,
            event=event,
            logger=_LOGGER,
            fields=fields,
            to_stdout=as_line,
            to_otlp=not as_line,
        )


class _SafeRecord(ReadWriteLogRecord):
    """A record whose attributes are already what the SDK would make of them, key by key, at several times the cost."""

    is_safe = True
    """Without secrets: what else comes to a processor of log records is looked at there."""

    def __post_init__(self) -> None:
        """Leave the attributes as they are."""


_LIMITS: Any = ReadWriteLogRecord(LogRecord()).limits
# The limits that the user has set for log records, or the SDK's own; before 1.44 there were only general ones.
_MOST: int | None = getattr(_LIMITS, "max_log_record_attributes", _LIMITS.max_attributes)
_LONGEST: int | None = getattr(_LIMITS, "max_log_record_attribute_length", _LIMITS.max_attribute_length)


def _fits(attributes: dict[str, Any]) -> bool:
    """Whether the limits have nothing to cut."""
    return _LONGEST is None and (_MOST is None or len(attributes) <= _MOST)


def _only_processor(logger: Logger) -> Callable[[Encoded], None] | None:
    """What queues encoded records, if that is all that happens to the records of a logger."""
    several: Any = logger._multi_log_record_processor
    processors: Any = getattr(several, "_log_record_processors", ())
    if len(processors) != 1 or not getattr(processors[0], "takes_encoded", False) or not logger._is_enabled():
        return None
    if type(getattr(logger, "_logger_metrics", None)).__name__ != "NoOpLoggerMetrics":
        return None  # the SDK counts the records that it makes
    put: Callable[[Encoded], None] = processors[0].put
    return put


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    """A second since the epoch as a line has it."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


@lru_cache(maxsize=64)
def _level(level: int) -> tuple[str, SeverityNumber, str]:
    """A level of `logging` by its name on a line, and by number and text in the log data model.

    DEBUG is 5 there, each further ten of `logging` are four more, what is between, between.
    """
    name = _LEVELS.get(level) or logging.getLevelName(level).lower()
    number = SeverityNumber(max(1, min(24, 5 + (level - 10) * 4 // 10)))
    return name, number, _SEVERITY_TEXTS.get(name) or name.upper()


def exception_type(kind: type[BaseException]) -> str:
    """The name of an exception's class, with its module unless that is `builtins`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def stacktrace(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it, causes and groups included, even if an exception's text raises."""
    try:
        return "".join(traceback.format_exception(*exc_info))
    except Exception:
        return "".join(traceback.format_tb(exc_info[2])) + exception_type(exc_info[0])


def as_exc_info(value: Any) -> ExcInfo | None:
    """What logging libraries accept as `exc_info` (an exception, a tuple, True), as a tuple, or `None`."""
    if isinstance(value, BaseException):
        return (type(value), value, value.__traceback__)
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[1], BaseException):
        return (type(value[1]), value[1], value[2])
    if value and not isinstance(value, tuple):
        kind, error, trace_back = sys.exc_info()
        if kind is not None and error is not None:
            return (kind, error, trace_back)
    return None
