"""The standard library's loggers: each record once into the chain, however logging is configured.

A handler on the root logger would miss loggers that do not propagate (uvicorn's), and the next
`dictConfig` would remove it. So we stand where every record passes: `Logger.callHandlers`. There
we take the place of the handlers that write to the console, with their levels and filters; all
other handlers, files, mail, Sentry, work as before.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from opentelemetry import _logs
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_search.context import EXCLUDED
from otel_search.logs.event import EventChain, as_exc_info

# What structlog gave us before it called the standard library: (event, fields, exc_info).
FROM_STRUCTLOG: ContextVar[tuple[str, dict[str, Any], Any] | None] = ContextVar("otel_search_structlog", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "otel_search_fields"}
# Copies of the message with colours, and the live objects of a connection (uvicorn, websockets).
_NOT_FIELDS = frozenset({"color_message", "websocket"})
_SERVERS_ERROR_LOGS = frozenset({"uvicorn.error", "gunicorn.error", "hypercorn.error"})
_TELEMETRY = "opentelemetry"
_QUIET_SECONDS = 60.0

LOGGED = "__otel_search_logged__"
"""Set on an exception that was logged with its trace, so that the server's report of it is not a second event."""


class LoggingBridge:
    """Takes the records of the standard library's loggers to the chain.

    Args:
        chain: Where the events go.
    """

    def __init__(self, chain: EventChain) -> None:
        self._chain = chain
        self._original: Any = None
        self._replaced: frozenset[str] = frozenset()
        self._notices: dict[str, tuple[float, int]] = {}
        self.exports_to_the_same: Callable[[Any], bool] = lambda _: False

    def install(self) -> None:
        """Stand in for the console handlers of every logger, now and after any later configuration."""
        original: Any = logging.Logger.callHandlers
        bridge = self

        def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802 - overrides logging's
            try:
                bridge._handle(self, record)
            except Exception:
                original(self, record)

        self._original = original
        logging.Logger.callHandlers = callHandlers  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Give the records back to the handlers alone."""
        if self._original is not None:
            logging.Logger.callHandlers = self._original  # type: ignore[method-assign]
            self._original = None

    def replace(self, names: Iterable[str]) -> None:
        """Drop the records of these loggers: other lines say the same, and more."""
        self._replaced = frozenset(names)

    def _handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        on_console = reaches_root = accepted = False
        current: logging.Logger | None = logger
        while current is not None:
            for handler in current.handlers:
                if is_console(handler):
                    on_console = True
                    accepted = accepted or (record.levelno >= handler.level and bool(handler.filter(record)))
                elif record.levelno >= handler.level and not self._sends_twice(handler):
                    handler.handle(record)
            if current.parent is None:
                reaches_root = True
            current = current.parent if current.propagate else None
        # A logger cut off from the root, without a console handler, was silenced on purpose.
        if (accepted or (reaches_root and not on_console)) and record.name not in self._replaced:
            self._emit(record)

    def _sends_twice(self, handler: logging.Handler) -> bool:
        """Whether a handler is OpenTelemetry's own and would send each record a second time."""
        if type(handler).__name__ != "LoggingHandler" or not type(handler).__module__.startswith(_TELEMETRY):
            return False
        provider = getattr(handler, "_logger_provider", None)
        return provider is _logs.get_logger_provider() or self.exports_to_the_same(provider)

    def _emit(self, record: logging.LogRecord) -> None:
        exc_info = as_exc_info(record.exc_info)
        if exc_info is not None and record.name in _SERVERS_ERROR_LOGS and getattr(exc_info[1], LOGGED, False):
            return
        pending = FROM_STRUCTLOG.get()
        if pending is not None:
            FROM_STRUCTLOG.set(None)
            event, fields, structlog_exc_info = pending
            exc_info = as_exc_info(structlog_exc_info) or exc_info
        else:
            event, fields = _event_of(record)
        if record.stack_info:
            fields = {**fields, "stack": record.stack_info}
        # What telemetry says of itself, and what its HTTP libraries say while it exports, would feed itself.
        of_telemetry = record.name.partition(".")[0] == _TELEMETRY or _is_suppressed()
        if of_telemetry:
            suppressed = self._suppressed(record)
            if suppressed is None:
                return
            if suppressed:
                fields = {**fields, "suppressed": suppressed}
        self._chain.emit(
            created=record.created,
            level=record.levelno,
            event=event,
            logger=record.name,
            fields=fields,
            exc_info=exc_info,
            to_otlp=not of_telemetry,
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


def _is_suppressed() -> bool:
    """Whether this is an export at work; what a health check logs is the application's own."""
    return not is_instrumentation_enabled() and get_value(_SUPPRESS_INSTRUMENTATION_KEY) != EXCLUDED


def is_console(handler: logging.Handler) -> bool:
    """Whether a handler writes to the process's own stdout or stderr."""
    if not isinstance(handler, logging.StreamHandler):
        return False
    return is_standard_stream(handler.stream)


def is_standard_stream(stream: Any) -> bool:
    """Whether a stream is the process's stdout or stderr, as they are now or were at its start, or the bytes below."""
    return any(
        stream is standard or stream is getattr(standard, "buffer", sys)
        for standard in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    )


def _event_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    fields = {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and name not in _NOT_FIELDS and not name.startswith("_")
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
