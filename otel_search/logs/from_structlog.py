"""structlog's loggers: each event once into the chain, before it is rendered.

The hook is on `structlog.BoundLoggerBase`, through which every bound logger goes: loggers that
were cached or bound before us, and whatever the application configures later. The application's
own processors run as they are; only the last one, the renderer, has nothing left to do when the
line was for the console.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from opentelemetry import trace
from structlog.exceptions import DropEvent

from otel_search import semconv
from otel_search.logs.callsite import Callsites
from otel_search.logs.console import is_console, is_standard_stream
from otel_search.logs.event import EventChain, as_exc_info
from otel_search.logs.from_logging import FROM_STRUCTLOG
from otel_search.logs.policy import Policy

_PRINTERS = (structlog.PrintLogger, structlog.WriteLogger, structlog.BytesLogger)
# The stdout of the moment when structlog was imported, which is what its loggers write to.
_STRUCTLOGS_STDOUT = structlog.PrintLogger()._file
_NAMELESS: tuple[Any, ...] = (structlog.PrintLoggerFactory, structlog.WriteLoggerFactory)
_RENDERERS = (
    structlog.processors.JSONRenderer,
    structlog.processors.KeyValueRenderer,
    structlog.processors.LogfmtRenderer,
    structlog.dev.ConsoleRenderer,
)
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "err": logging.ERROR,
    "exception": logging.ERROR,
    "failure": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
# structlog has one class of filtering loggers for each level, with what is below it left out.
_FILTERING: dict[type, int] = {
    structlog.make_filtering_bound_logger(level): level
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
}
# What usual processors add and the chain adds itself.
_METADATA = ("level", "timestamp", "log_level", "level_number")
_USERS_OWN = frozenset({"level", "timestamp", "logger"})


class StructlogBridge:
    """Takes structlog's events to the chain.

    Args:
        chain: Where the events go.
        policy: Whose lines are whose.
    """

    def __init__(self, chain: EventChain, policy: Policy) -> None:
        self._chain = chain
        self._policy = policy
        self._original: Callable[..., Any] | None = None
        self._factories: dict[Any, Callable[..., Any]] = {}
        self._levels: dict[str, int] = {}
        self._methods: list[tuple[type, str, Any]] = []
        self._callsites = Callsites(__name__)

    def install(self) -> None:
        """Take the events of all bound loggers."""
        original = structlog.BoundLoggerBase._proxy_to_logger
        bridge = self

        def _proxy_to_logger(self: Any, method_name: str, event: str | None = None, **event_kw: Any) -> Any:
            wrapped = self._logger
            if bridge._levels and bridge._is_below(self, wrapped, method_name):
                return None
            if isinstance(wrapped, logging.Logger):
                return bridge._to_logging(self, wrapped, method_name, event, event_kw)
            if isinstance(wrapped, _PRINTERS):
                return bridge._to_printer(self, wrapped, method_name, event, event_kw)
            return original(self, method_name, event, **event_kw)  # a test double, a logger of the user's own

        self._original = original
        structlog.BoundLoggerBase._proxy_to_logger = _proxy_to_logger  # type: ignore[method-assign]
        for factory in _NAMELESS:
            self._factories[factory] = factory.__call__
            factory.__call__ = _naming(factory.__call__)
        self._callsites.install()

    def set_levels(self, levels: Mapping[str, int]) -> None:
        """Let these levels count, by logger, for structlog's loggers too, however they were bound or cached.

        structlog's filtering loggers have no methods for what is below their level: they get them meanwhile.
        """
        for cls, name, method in self._methods:
            setattr(cls, name, method)
        self._methods = []
        self._levels = dict(levels)
        if not levels:
            return
        full = vars(structlog.make_filtering_bound_logger(logging.NOTSET))
        for cls in _FILTERING:
            for name, method in vars(cls).items():
                if not name.startswith("_") and callable(method) and name != "get_effective_level":
                    self._methods.append((cls, name, method))
        for cls, name, _ in self._methods:
            setattr(cls, name, full[name])

    def _is_below(self, bound: Any, wrapped: Any, method_name: str) -> bool:
        """Whether an event is below the level that counts for its logger at the moment."""
        own = next((level for cls, level in _FILTERING.items() if isinstance(bound, cls)), logging.NOTSET)
        name = getattr(wrapped, "name", None) or bound._context.get("logger") or ""
        while name and name not in self._levels:
            name = name.rpartition(".")[0]
        return _LEVELS.get(method_name, logging.INFO) < self._levels.get(name or "root", own)

    def uninstall(self) -> None:
        """Give the events back to structlog alone."""
        self.set_levels({})
        if self._original is not None:
            structlog.BoundLoggerBase._proxy_to_logger = self._original  # type: ignore[method-assign]
            self._original = None
            for factory, call in self._factories.items():
                factory.__call__ = call
            self._callsites.uninstall()

    def _to_logging(
        self, bound: Any, wrapped: logging.Logger, method_name: str, event: str | None, event_kw: dict[str, Any]
    ) -> Any:
        try:
            run = _Run(bound, method_name, event, event_kw, as_it_is=self._policy.keeps_all)
        except DropEvent:
            return None
        args: tuple[Any, ...] = (run.event,)
        kwargs: dict[str, Any] = {}
        if self._policy.keeps_all or not self._is_ours(wrapped):
            args, kwargs = run.rendered(self._ids())
        token = FROM_STRUCTLOG.set((run.event, run.fields, run.exc_info))
        try:
            return getattr(wrapped, method_name)(*args, **kwargs)
        finally:
            FROM_STRUCTLOG.reset(token)

    def _to_printer(
        self, bound: Any, wrapped: Any, method_name: str, event: str | None, event_kw: dict[str, Any]
    ) -> Any:
        try:
            run = _Run(bound, method_name, event, event_kw, as_it_is=self._policy.keeps_all)
        except DropEvent:
            return None
        to_console = wrapped._file is _STRUCTLOGS_STDOUT or is_standard_stream(wrapped._file)
        on_console = to_console and not self._policy.keeps_all
        self._chain.emit(
            created=time.time(),
            level=_LEVELS.get(method_name, logging.INFO),
            event=run.event,
            logger=run.logger or getattr(wrapped, "name", None) or "structlog",
            fields=run.fields,
            exc_info=as_exc_info(run.exc_info),
            to_stdout=on_console,
        )
        if on_console:
            return None
        args, kwargs = run.rendered(self._ids())
        if to_console and not self._policy.stands_aside and self._policy.kept is not None:
            args = tuple(map(self._policy.kept.written, args))
        return getattr(wrapped, method_name)(*args, **kwargs)

    def _is_ours(self, logger: logging.Logger) -> bool:
        """Whether nobody looks at what structlog renders, since all handlers write to the console in our form."""
        current: logging.Logger | None = logger
        while current is not None:
            if not all(is_console(handler) and not self._policy.keeps(handler) for handler in current.handlers):
                return False
            current = current.parent if current.propagate else None
        return True

    def _ids(self) -> dict[str, str]:
        """The ids of the trace, for lines that the application renders itself."""
        span = trace.get_current_span().get_span_context()
        if self._policy.stands_aside or not span.is_valid:
            return {}
        return {
            semconv.LOG_TRACE_ID: trace.format_trace_id(span.trace_id),
            semconv.LOG_SPAN_ID: trace.format_span_id(span.span_id),
        }


def _naming(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let a factory's loggers keep the name that `structlog.get_logger(name)` was called with."""

    def named(self: Any, *args: Any) -> Any:
        logger = call(self, *args)
        if args and isinstance(args[0], str):
            logger.name = args[0]
        return logger

    return named


class _Run:
    """One run of a bound logger's processors, up to the renderer."""

    def __init__(
        self, bound: Any, method_name: str, event: str | None, event_kw: dict[str, Any], *, as_it_is: bool
    ) -> None:
        event_dict: Any = {**bound._context, **event_kw}
        if not (_USERS_OWN.isdisjoint(event_dict) or as_it_is):
            # Set by the caller, not by a processor: a field of the event's own, not the line's.
            for name in _USERS_OWN & event_dict.keys():
                event_dict[f"extra.{name}"] = event_dict.pop(name)
        if event is not None:
            event_dict["event"] = event
        exc_info = event_dict.get("exc_info", method_name == "exception")
        logger, processors = bound._logger, bound._processors
        renderer = processors[-1] if processors and _is_renderer(processors[-1]) else None
        for processor in processors:
            if processor is renderer:
                break
            before = event_dict
            event_dict = processor(logger, method_name, event_dict)
            if type(event_dict) is not dict and not isinstance(event_dict, dict):
                # A renderer of the user's own has rendered: keep its result, and what it was made of.
                self._result = event_dict
                event_dict = before
                break
            if "exc_info" in event_dict:
                exc_info = event_dict["exc_info"] or exc_info
        self._bound, self._method_name, self._renderer, self._event_dict = bound, method_name, renderer, event_dict
        self.exc_info = exc_info
        self.fields = fields = event_dict.copy()
        self.event = self._event(event)
        self.logger = fields.pop("logger", None)
        for name in _METADATA:
            if name in fields:
                del fields[name]
        fields.pop("exc_info", None)
        if exc_info and as_exc_info(exc_info) is not None:
            # The same exception, rendered by `format_exc_info` or `dict_tracebacks`.
            fields.pop("exception", None)

    def _event(self, called_with: str | None) -> str:
        fields = self.fields
        text = fields.pop("event", called_with)
        for renamed in ("message", "msg"):  # by structlog.processors.EventRenamer
            if renamed in fields and text is not None and fields[renamed] == text:
                del fields[renamed]
        positional = fields.pop("positional_args", None)
        if type(text) is str and not positional:
            return text
        try:
            event = "" if text is None else str(text)
            return event % positional if positional else event
        except Exception:
            self.fields["args"] = positional
            return f"<{type(text).__name__}>" if not isinstance(text, str) else text

    def rendered(self, ids: dict[str, str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that structlog would call the wrapped logger with, and `ids` for its renderer."""
        result = self.__dict__.get("_result", self._event_dict)
        if self._renderer is not None:
            try:
                result = self._renderer(self._bound._logger, self._method_name, {**ids, **self._event_dict})
            except DropEvent:
                raise
            except Exception:
                # A value that the renderer cannot hold must not raise into the application's log call.
                result = self.event
        if isinstance(result, tuple):
            args, kwargs = result
            return tuple(args), dict(kwargs)
        return ((), result) if isinstance(result, dict) else ((result,), {})


def _is_renderer(processor: Any) -> bool:
    return isinstance(processor, _RENDERERS) or processor in _FUNCTIONS


_FUNCTIONS = (
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    structlog.stdlib.render_to_log_kwargs,
    structlog.stdlib.render_to_log_args_and_kwargs,
)
