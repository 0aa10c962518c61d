"""Exceptions that nobody caught, as events like any other."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otel_search.logs.event import EventChain, ExcInfo

_logger = logging.getLogger("uncaught")


class Uncaught:
    """Logs exceptions that end the process or a thread; interrupts stay as they are.

    Args:
        chain: Where they go if only a record is made of them.
        stands_aside: Whether Python goes on telling them itself.
    """

    def __init__(self, chain: EventChain, stands_aside: Callable[[], bool]) -> None:
        self._chain = chain
        self._stands_aside = stands_aside
        self._previous = sys.excepthook
        self._threads_previous = threading.excepthook
        self._ignored_previous = sys.unraisablehook
        # One object each, so that it can be told apart from what somebody else has set meanwhile.
        self._hook, self._threads_hook, self._ignored_hook = self._in_process, self._in_thread, self._ignored

    def install(self) -> None:
        """Take the place of Python's hooks, or stand before those of somebody else."""
        self._previous, self._threads_previous = sys.excepthook, threading.excepthook
        self._ignored_previous = sys.unraisablehook
        sys.excepthook = self._hook
        threading.excepthook = self._threads_hook
        sys.unraisablehook = self._ignored_hook

    def uninstall(self) -> None:
        """Give the hooks back, if they are still ours."""
        if sys.excepthook is self._hook:
            sys.excepthook = self._previous
        if threading.excepthook is self._threads_hook:
            threading.excepthook = self._threads_previous
        if sys.unraisablehook is self._ignored_hook:
            sys.unraisablehook = self._ignored_previous

    def _in_process(self, kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            self._tell(logging.CRITICAL, "uncaught exception", (kind, error, trace_back), {})
            if self._previous is sys.__excepthook__ and not self._stands_aside():
                return
        self._previous(kind, error, trace_back)

    def _in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread is not None else "unknown"
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        self._tell(logging.ERROR, "uncaught exception in thread", exc_info, {"thread.name": name})
        if self._threads_previous is not threading.__excepthook__ or self._stands_aside():
            self._threads_previous(args)

    def _ignored(self, args: sys.UnraisableHookArgs) -> None:
        """An exception where none can be raised, as in `__del__`; what it is about must not be kept alive, so its name alone is told."""
        told = args.exc_value is not None and not sys.is_finalizing()
        if told and args.exc_value is not None:
            where = getattr(args.object, "__qualname__", None) or type(args.object).__name__
            exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
            self._tell(logging.ERROR, "exception ignored", exc_info, {"code.function.name": where})
        if not told or self._ignored_previous is not sys.__unraisablehook__ or self._stands_aside():
            self._ignored_previous(args)

    def _tell(self, level: int, event: str, exc_info: ExcInfo, fields: dict[str, Any]) -> None:
        if not self._stands_aside():
            _logger.log(level, event, exc_info=exc_info, extra=fields)
            return
        self._chain.emit(
            created=time.time(),
            level=level,
            event=event,
            logger=_logger.name,
            fields=fields,
            exc_info=exc_info,
            to_stdout=False,
        )
