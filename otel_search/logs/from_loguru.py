"""loguru's events: its handlers keep their lines, which get the ids, and each event becomes one OTLP record.

By a handler of ours among the application's, which comes back after `logger.remove()`, is as severe as the
least severe of them, and stands last. An event that comes from the standard library's logging
(`InterceptHandler`) or goes there (`PropagateHandler`) is told there, and only there.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import wrapt
from opentelemetry import trace

from otel_search import semconv
from otel_search.context import REQUEST_ID
from otel_search.logs.console import DEVICES, is_standard_stream
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
        self._cores: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()

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
        for core in list(self._cores):
            for number, handler in list(core.handlers.items()):
                if _is_own(handler):
                    self._originals["remove"](_on(core, self._logger), number)
                elif type(handler._sink) is _Console:
                    handler._sink = handler._sink.__wrapped__
            if type(core.patcher) is _Patch:
                core.patcher = core.patcher.own
        self._cores.clear()
        self._logger, self._originals = None, {}

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
        for name, original in self._originals.items():
            setattr(kind, name, self._following(original))
        self._stand_in(logger)

    def _following(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def followed(logger: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(logger, *args, **kwargs)
            finally:
                self._carefully(self._stand_in, logger)

        return followed

    def _stand_in(self, logger: Any) -> None:
        """Have a patcher of our own, and one handler, after all others, which gets what any of them gets."""
        with self._lock:
            self._stand_in_core(logger, logger._core)

    def _stand_in_core(self, logger: Any, core: Any) -> None:
        self._cores.add(core)  # a copy of the logger has one of its own
        if type(core.patcher) is not _Patch:
            self._originals["configure"](logger, patcher=_Patch(self, core.patcher))
        levels = []
        for number, handler in list(core.handlers.items()):
            if _is_own(handler):
                with contextlib.suppress(ValueError):  # the application has removed all meanwhile
                    self._originals["remove"](logger, number)
            else:
                levels.append(handler.levelno)
                self._look_at(handler)
        if levels:
            self._originals["add"](
                logger, _Tell(self, core), level=min(levels), format="{message}", catch=True, backtrace=False,
                diagnose=False,
            )  # fmt: skip

    def _look_at(self, handler: Any) -> None:
        """Have secrets hidden in what a handler writes to the console."""
        sink = handler._sink
        is_console = type(sink) is not _Console and (
            is_standard_stream(getattr(sink, "_stream", None)) or getattr(sink, "_path", None) in DEVICES
        )
        if self._policy.kept is not None and is_console:
            handler._sink = _Console(sink, self._policy)

    def patch(self, record: dict[str, Any]) -> None:
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

    def tell(self, message: Any, handlers: Iterable[Any]) -> None:
        """An event has come to our handler, which stands behind these."""
        record = message.record
        takers = [handler for handler in handlers if not _is_own(handler) and _takes(handler, record)]
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


class _Patch:
    """The patcher of a core: ours, and then the application's own. Pickled, it is the latter."""

    def __init__(self, bridge: LoguruBridge, own: Any) -> None:
        self.own = own
        self._bridge = bridge

    def __call__(self, record: dict[str, Any]) -> None:
        self._bridge.patch(record)
        if self.own is not None:
            self.own(record)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Patch:
        return _Patch(self._bridge, copy.deepcopy(self.own, memo))

    def __reduce__(self) -> Any:
        return _itself, (self.own,)


class _Tell:
    """The sink of our handler on a core. Pickled, as loggers are for other processes, it is one that tells nothing."""

    def __init__(self, bridge: LoguruBridge, core: Any) -> None:
        self._bridge = bridge
        self._core = weakref.ref(core)

    def __call__(self, message: Any) -> None:
        core = self._core()
        if core is not None:
            self._bridge.tell(message, core.handlers.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tell:
        return _Tell(self._bridge, memo.get(id(self._core()), self._core()))

    def __reduce__(self) -> Any:
        return _itself, (_nothing,)


def _itself(value: Any) -> Any:
    return value


def _nothing(message: Any) -> None:
    """What our handler does in another process: its queue brings the line to where it is written."""


def _is_own(handler: Any) -> bool:
    function = getattr(handler._sink, "_function", None)
    return type(function) is _Tell or function is _nothing


def _on(core: Any, logger: Any) -> Any:
    """A logger of this core."""
    if logger._core is core:
        return logger
    other = copy.copy(logger)
    other._core = core
    return other


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
