"""loguru's events: its handlers keep their lines, which get the ids, and each event becomes one OTLP record.

By a handler of ours among the application's, which comes back after `logger.remove()`, is as severe as the
least severe of them, and stands last. An event that comes from the standard library's logging
(`InterceptHandler`) or goes there (`PropagateHandler`) is told there, and only there.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import wrapt
from opentelemetry import trace

from otel_search import semconv
from otel_search.context import REQUEST_ID
from otel_search.logs.console import is_standard_stream
from otel_search.logs.event import EventChain, as_exc_info
from otel_search.logs.policy import Policy


@dataclass
class Forwarded:
    """What became of a record of the standard library that handlers may give to loguru.

    Attributes:
        message: Its text.
        expected: Whether one of its handlers gives records to loguru.
        taken: Whether loguru has written it somewhere.
    """

    message: str = ""
    expected: bool = False
    taken: bool = False


_from_logging: ContextVar[Forwarded | None] = ContextVar("otel_search_forwarded", default=None)
# The message of the loguru event at work, and whether it went to the standard library.
_in_loguru: ContextVar[list[Any] | None] = ContextVar("otel_search_in_loguru", default=None)
_logger = logging.getLogger("otel_search.logs")
_NOTHING = Forwarded()
_IDS = frozenset({semconv.LOG_TRACE_ID, semconv.LOG_SPAN_ID, semconv.LOG_REQUEST_ID})


@contextlib.contextmanager
def forwarding(record: logging.LogRecord, handlers: Iterable[logging.Handler]) -> Iterator[Forwarded]:
    """While a record's handlers are at work: what they give to loguru is this event, and no other."""
    if "loguru" not in sys.modules:
        yield _NOTHING
        return
    forwarded = Forwarded(record.getMessage(), any(takes_from(handler) for handler in handlers))
    token = _from_logging.set(forwarded)
    try:
        yield forwarded
    finally:
        _from_logging.reset(token)


def takes_from(handler: logging.Handler) -> bool:
    """Whether loguru takes the records of a handler of the standard library."""
    kind: Any = type(handler)
    return "loguru" in sys.modules and _gives_to_loguru(kind)


def told(event: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An event of the standard library is being told: if it is loguru's, there is nothing left to tell.

    Args:
        event: What happened.
        fields: Its fields.

    Returns:
        The event without the traceback that loguru has put behind it, and the fields, loguru's own among them.
    """
    here = _in_loguru.get()
    if here is None or not event.startswith(here[0]):
        return event, fields
    here[1] = True
    extra = fields.get("extra")
    if isinstance(extra, dict):
        fields = {**{name: value for name, value in fields.items() if name != "extra"}, **_without_ids(extra)}
    return here[0], fields


@functools.lru_cache(maxsize=256)
def _gives_to_loguru(kind: Any) -> bool:
    """Whether a class of handlers is the `InterceptHandler` of loguru's documentation, or one like it."""
    code: Any = getattr(kind.emit, "__code__", None)
    if code is None:
        return False
    names = kind.emit.__globals__
    return "loguru" in code.co_names or any(
        type(names.get(name)).__module__ == "loguru._logger" for name in code.co_names
    )


class LoguruBridge:
    """Takes loguru's events to the chain, once loguru is there.

    Args:
        chain: Where the events go.
        policy: Whose lines are whose.
    """

    def __init__(self, chain: EventChain, policy: Policy) -> None:
        self._chain = chain
        self._policy = policy
        self._installed = False
        self._logger: Any = None
        self._originals: dict[str, Callable[..., Any]] = {}
        self._own: int | None = None
        self._patcher: Any = None

    def install(self) -> None:
        """Wait for loguru, or begin at once if it is there."""
        self._installed = True
        if self._logger is None:
            wrapt.register_post_import_hook(lambda module: self._carefully(self._begin, module.logger), "loguru")

    def uninstall(self) -> None:
        """Leave loguru as it was."""
        self._installed = False
        if self._logger is None:
            return
        kind = type(self._logger)
        for name, original in self._originals.items():
            setattr(kind, name, original)
        for handler in self._logger._core.handlers.values():
            if type(handler._sink) is _Console:
                handler._sink = handler._sink.__wrapped__
        if self._own is not None:
            self._logger.remove(self._own)
        self._logger.configure(patcher=self._patcher)
        self._logger, self._own, self._patcher, self._originals = None, None, None, {}

    @staticmethod
    def _carefully(step: Callable[..., None], *arguments: Any) -> None:
        """Whatever another version of loguru is like, its import and its methods work as ever."""
        try:
            step(*arguments)
        except Exception as error:
            _logger.warning("loguru's events are not exported: %s: %s", type(error).__name__, error)

    def _begin(self, logger: Any) -> None:
        if not self._installed or self._logger is not None:
            return
        self._logger = logger
        kind = type(logger)
        self._originals = {name: getattr(kind, name) for name in ("add", "remove", "configure")}
        self._patcher = logger._core.patcher
        self._originals["configure"](logger, patcher=self._patch)
        for name in ("add", "remove"):
            setattr(kind, name, self._following(self._originals[name]))
        kind.configure = self._configuring(self._originals["configure"])
        self._stand_last()

    def _following(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def followed(logger: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(logger, *args, **kwargs)
            finally:
                self._carefully(self._stand_last)

        return followed

    def _configuring(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def configure(logger: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("patcher") is not None:
                self._patcher, kwargs["patcher"] = kwargs["patcher"], self._patch
            return original(logger, *args, **kwargs)

        return configure

    def _stand_last(self) -> None:
        """Have one handler of our own, after all others, which gets what any of them gets."""
        handlers = {number: handler for number, handler in self._logger._core.handlers.items() if number != self._own}
        for handler in handlers.values():
            self._look_at(handler)
        level = min((handler.levelno for handler in handlers.values()), default=None)
        if self._own is not None:
            with contextlib.suppress(ValueError):  # the application has removed all
                self._originals["remove"](self._logger, self._own)
            self._own = None
        if level is not None:
            self._own = self._originals["add"](
                self._logger, self._tell, level=level, format="{message}", catch=True, backtrace=False, diagnose=False
            )

    def _look_at(self, handler: Any) -> None:
        """Have secrets hidden in what a handler writes to the console."""
        sink = handler._sink
        is_console = type(sink) is not _Console and is_standard_stream(getattr(sink, "_stream", None))
        if self._policy.kept is not None and is_console:
            handler._sink = _Console(sink, self._policy)

    def _patch(self, record: dict[str, Any]) -> None:
        """Before any handler: the ids, for the lines that the application writes."""
        _in_loguru.set([record["message"], False])
        if not self._policy.stands_aside:
            span = trace.get_current_span().get_span_context()
            ids = record["extra"]
            if span.is_valid:
                ids.setdefault(semconv.LOG_TRACE_ID, trace.format_trace_id(span.trace_id))
                ids.setdefault(semconv.LOG_SPAN_ID, trace.format_span_id(span.span_id))
            request_id = REQUEST_ID.get()
            if request_id is not None:
                ids.setdefault(semconv.LOG_REQUEST_ID, request_id)
        if self._patcher is not None:
            self._patcher(record)

    def _tell(self, message: Any) -> None:
        """Our handler."""
        record = message.record
        handlers = self._logger._core.handlers
        takers = [handler for number, handler in handlers.items() if number != self._own and _takes(handler, record)]
        forwarded = _from_logging.get()
        if forwarded is not None and forwarded.message == record["message"]:
            forwarded.expected = True
            forwarded.taken = forwarded.taken or bool(takers)
            return
        here = _in_loguru.get()
        if not takers or (here is not None and here[1]):
            return
        exception = record["exception"]
        self._chain.emit(
            created=record["time"].timestamp(),
            level=record["level"].no,
            event=record["message"],
            logger=record["name"] or "loguru",
            fields=_without_ids(record["extra"]),
            exc_info=None if exception is None else as_exc_info((exception.type, exception.value, exception.traceback)),
            to_stdout=False,
        )


class _Console(wrapt.ObjectProxy):  # type: ignore[type-arg]  # its class takes none before wrapt 2
    """One of loguru's sinks, which writes finished lines to the console: now without secrets."""

    def __init__(self, sink: Any, policy: Policy) -> None:
        super().__init__(sink)
        self._self_policy = policy

    def write(self, message: Any) -> None:
        kept = self._self_policy.kept
        if kept is not None and not self._self_policy.stands_aside:
            line = kept.line(str(message))
            if line != message:
                hidden = type(message)(line)
                hidden.record = message.record
                message = hidden
        self.__wrapped__.write(message)


def _takes(handler: Any, record: dict[str, Any]) -> bool:
    """Whether one of loguru's handlers writes an event, by its level and its filter."""
    return record["level"].no >= handler.levelno and (handler._filter is None or bool(handler._filter(record)))


def _without_ids(extra: dict[str, Any]) -> dict[str, Any]:
    """Loguru's fields, without what we have added for the application's own lines."""
    return {name: value for name, value in extra.items() if name not in _IDS}
