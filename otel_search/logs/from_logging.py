"""The standard library's loggers: each record once into the chain, however logging is configured.

A handler on the root logger would miss loggers that do not propagate (uvicorn's), and the next
`dictConfig` would remove it. So we stand where every record passes: `Logger.callHandlers`. There
we take the place of the handlers that write to the console, with their levels and filters, unless
the application has chosen the form of their lines; all other handlers, files, mail, Sentry, work as
before, and what they format has the trace's ids.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.handlers
import time
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_search import semconv
from otel_search.context import EXCLUDED, REQUEST_ID
from otel_search.logs import from_loguru
from otel_search.logs.console import is_console
from otel_search.logs.event import EventChain, as_exc_info
from otel_search.logs.policy import Policy

# What structlog gave us before it called the standard library: (event, fields, exc_info).
FROM_STRUCTLOG: ContextVar[tuple[str, dict[str, Any], Any] | None] = ContextVar("otel_search_structlog", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "otel_search_fields"}
# Copies of the message with colours, and the live objects of a connection (uvicorn, websockets).
_NOT_FIELDS = frozenset({"color_message", "websocket"})
_SERVERS_ERROR_LOGS = frozenset({"uvicorn.error", "gunicorn.error", "hypercorn.error"})
_TELEMETRY = "opentelemetry"
_TOLD = "_otel_search_told"
"""Set on a record that goes through a queue, and whose line is written."""
_QUIET_SECONDS = 60.0

_SILENT = logging.Logger("otel_search.silent")  # noqa: LOG001 - nobody else's to configure
_SILENT.propagate = False
_SILENT.addHandler(logging.NullHandler())

LOGGED = "__otel_search_logged__"
"""Set on an exception that was logged with its trace, so that the server's report of it is not a second event."""


class LoggingBridge:
    """Takes the records of the standard library's loggers to the chain.

    Args:
        chain: Where the events go.
        policy: Whose lines are whose.
    """

    def __init__(self, chain: EventChain, policy: Policy) -> None:
        self._chain = chain
        self._policy = policy
        self._original: Any = None
        self._ours: Any = None
        self._listeners: Any = None
        self._replaced: frozenset[str] = frozenset()
        self._notices: dict[str, tuple[float, int]] = {}
        self.exports_to_the_same: Callable[[Any], bool] = lambda _: False

    def install(self) -> None:
        """Stand in for the console handlers of every logger, now and after any later configuration."""
        original: Any = logging.Logger.callHandlers
        bridge = self
        # Somebody else stands there, as Sentry does: they get each record as well, from a logger that writes nothing.
        is_wrapped = not _is_pythons_own(original)

        def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802 - overrides logging's
            if bridge._ours is not callHandlers:  # uninstalled, and somebody else holds it
                original(self, record)
                return
            try:
                bridge._handle(self, record)
            except Exception:
                original(self, record)
                return
            if is_wrapped and not bridge._policy.stands_aside:
                original(_SILENT, record)

        self._original = original
        self._ours = logging.Logger.callHandlers = callHandlers  # type: ignore[method-assign]
        self._listeners = logging.handlers.QueueListener.handle
        logging.handlers.QueueListener.handle = _handling(self._listeners, self._policy)  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Give the records back to the handlers alone; whoever stands before us by now stays there."""
        if self._original is not None:
            if logging.Logger.callHandlers is self._ours:
                logging.Logger.callHandlers = self._original  # type: ignore[method-assign]
            logging.handlers.QueueListener.handle = self._listeners  # type: ignore[method-assign]
            self._original = self._ours = None
            if self._policy.kept is not None:
                self._policy.kept.give_back()

    def replace(self, names: Iterable[str]) -> None:
        """Drop the records of these loggers: other lines say the same, and more."""
        self._replaced = frozenset(names)

    def _handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        # What telemetry says of itself, and what its HTTP libraries say while it exports, would feed itself.
        of_telemetry = record.name.partition(".")[0] == _TELEMETRY or _is_suppressed()
        if self._policy.stands_aside:
            if not of_telemetry and not record.name.startswith("otel_search"):
                self._beside(logger, record)
            return
        on_console = reaches_root = accepted = kept = queued = False
        others: list[logging.Handler] = []
        consoles: list[logging.Handler] = []
        forwarders: list[logging.Handler] = []
        current: logging.Logger | None = logger
        while current is not None:
            for handler in current.handlers:
                if is_console(handler):
                    on_console = True
                    if record.levelno < handler.level:
                        continue
                    keeps = self._policy.keeps(handler)
                    if not keeps and accepted:
                        continue
                    # From Python 3.12 on a filter may put another record in its place.
                    answer: Any = handler.filter(record)
                    record = answer if isinstance(answer, logging.LogRecord) else record
                    accepted = accepted or bool(answer)
                    if answer and keeps:
                        kept = True
                        self._policy.looks_at(handler)
                        consoles.append(handler)
                elif record.levelno >= handler.level and not self._sends_twice(handler):
                    if isinstance(handler, logging.handlers.QueueHandler):
                        # Its listener may well write to the console, at another time and in another thread.
                        kept = kept or self._policy.lines == "theirs"
                        queued = True
                    (forwarders if from_loguru.takes_from(handler) else others).append(handler)
            if current.parent is None:
                reaches_root = True
            current = current.parent if current.propagate else None
        held_back = self._suppressed(record) if of_telemetry else 0
        is_silent = held_back is None or record.name in self._replaced or _is_told(record)
        if is_silent:
            consoles, forwarders = [], []
        given: Collection[str] = ()
        if others or consoles or forwarders:
            given = self._give_ids(record)
            if queued and not kept:
                record.__dict__[_TOLD] = True
            for handler in consoles:
                _write(handler, record)
            handlers = [*others, *forwarders]
            with from_loguru.forwarding(record, handlers) as forwarded:
                for handler in handlers:
                    handler.handle(record)
            kept = kept or forwarded.taken
            on_console = on_console or forwarded.expected
            accepted = accepted or forwarded.taken
        # A logger cut off from the root, without a console handler, was silenced on purpose.
        if not is_silent and (accepted or (reaches_root and not on_console)):
            self._emit(record, given, to_stdout=not kept, to_otlp=not of_telemetry, suppressed=held_back)

    def _beside(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Let the record do what it would do without us, and make an OTLP record of it."""
        self._original(logger, record)
        last_resort = logging.lastResort.level if logging.lastResort is not None else logging.CRITICAL + 1
        if logger.hasHandlers() or record.levelno >= last_resort:
            with contextlib.suppress(Exception):  # it has been written, and must not be once more
                self._emit(record, (), to_stdout=False)

    def _give_ids(self, record: logging.LogRecord) -> Collection[str]:
        """Let formatters find the ids of the trace; the names of those that the record had not."""
        ids: dict[str, Any] = {}
        request_id = REQUEST_ID.get()
        if request_id is not None:
            ids[semconv.LOG_REQUEST_ID] = request_id
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            ids[semconv.LOG_TRACE_ID] = trace.format_trace_id(span.trace_id)
            ids[semconv.LOG_SPAN_ID] = trace.format_span_id(span.span_id)
        if self._policy.correlation:  # upstream's names, which formats of upstream's users have
            ids |= {
                "otelTraceID": ids.get(semconv.LOG_TRACE_ID, "0"),
                "otelSpanID": ids.get(semconv.LOG_SPAN_ID, "0"),
                "otelTraceSampled": span.trace_flags.sampled,
                "otelServiceName": self._policy.service_name,
            }
        # Not in the record's factory: there an `extra` of the same name would raise into the application.
        attributes = record.__dict__
        given = [name for name in ids if name not in attributes]
        for name in given:
            attributes[name] = ids[name]
        return given

    def _sends_twice(self, handler: logging.Handler) -> bool:
        """Whether a handler is OpenTelemetry's own and would send each record a second time."""
        if type(handler).__name__ != "LoggingHandler" or not type(handler).__module__.startswith(_TELEMETRY):
            return False
        provider = getattr(handler, "_logger_provider", None)
        return provider is _logs.get_logger_provider() or self.exports_to_the_same(provider)

    def _emit(
        self,
        record: logging.LogRecord,
        given: Collection[str],
        *,
        to_stdout: bool,
        to_otlp: bool = True,
        suppressed: int | None = 0,
    ) -> None:
        exc_info = as_exc_info(record.exc_info)
        pending = FROM_STRUCTLOG.get()
        if pending is not None:
            FROM_STRUCTLOG.set(None)
            event, fields, structlog_exc_info = pending
            exc_info = as_exc_info(structlog_exc_info) or exc_info
        else:
            event, fields = _event_of(record, given)
        if record.stack_info:
            fields = {**fields, "stack": record.stack_info}
        if suppressed:
            fields = {**fields, "suppressed": suppressed}
        event, fields = from_loguru.told(event, fields)
        self._chain.emit(
            created=record.created,
            level=record.levelno,
            event=event,
            logger=record.name,
            fields=fields,
            exc_info=exc_info,
            to_stdout=to_stdout,
            to_otlp=to_otlp,
            kind=record.msg if type(record.msg) is str else "",
        )

    def _suppressed(self, record: logging.LogRecord) -> int | None:
        """How many notices like this one were held back since the last; `None` to hold this one back too."""
        if record.name.startswith("otel_search"):
            return 0
        key = ".".join(record.name.split(".")[:3])
        last, held_back = self._notices.get(key, (-_QUIET_SECONDS, 0))
        now = time.monotonic()
        if now - last < _QUIET_SECONDS:
            self._notices[key] = (last, held_back + 1)
            return None
        self._notices[key] = (now, 0)
        return held_back


def _is_pythons_own(function: Any) -> bool:
    code = function.__code__ if isinstance(function, FunctionType) else None
    return code is not None and code.co_filename == logging.addLevelName.__code__.co_filename


def _write(handler: logging.Handler, record: logging.LogRecord) -> None:
    """As `Handler.handle`, for a record that its filters have let through."""
    handler.acquire()
    try:
        handler.emit(record)
    finally:
        handler.release()


def _handling(original: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Let the listener of a queue write no second line to the console, and no secret."""

    @functools.wraps(original)
    def handle(self: Any, record: Any) -> None:
        if not getattr(record, _TOLD, False):
            for handler in self.handlers:
                if not policy.stands_aside and is_console(handler):
                    policy.looks_at(handler)
            original(self, record)
            return
        record = self.prepare(record)
        for handler in self.handlers:
            if (not self.respect_handler_level or record.levelno >= handler.level) and not is_console(handler):
                handler.handle(record)

    return handle


def _is_told(record: logging.LogRecord) -> bool:
    """Whether this is a server's report of an exception that was logged already."""
    if record.name not in _SERVERS_ERROR_LOGS or not record.exc_info:
        return False
    exc_info = as_exc_info(record.exc_info)
    return exc_info is not None and getattr(exc_info[1], LOGGED, False)


def _is_suppressed() -> bool:
    """Whether this is an export at work; what a health check logs is the application's own."""
    return not is_instrumentation_enabled() and get_value(_SUPPRESS_INSTRUMENTATION_KEY) != EXCLUDED


def _event_of(record: logging.LogRecord, given: Collection[str]) -> tuple[str, dict[str, Any]]:
    fields = {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and name not in _NOT_FIELDS and name[:1] != "_" and name not in given
    }
    own = getattr(record, "otel_search_fields", None)
    if own:
        fields.update(own)
    message = record.msg
    if isinstance(message, dict) and not record.args:
        fields.update(message)
        return str(fields.pop("event", fields.pop("message", ""))), fields
    try:
        return record.getMessage(), fields
    except Exception:
        # A wrong format string, or an object whose text raises: the values are still worth having.
        if record.args:
            fields["args"] = record.args
        return message if isinstance(message, str) else f"<{type(message).__name__}>", fields
