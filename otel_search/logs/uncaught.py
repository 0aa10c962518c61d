"""Exceptions that nobody caught, as events like any other."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

_logger = logging.getLogger("uncaught")


def install() -> None:
    """Log exceptions that end the process or a thread; interrupts stay as they are."""
    sys.excepthook = _in_process
    threading.excepthook = _in_thread


def uninstall() -> None:
    """Give the hooks back, if they are still ours."""
    if sys.excepthook is _in_process:
        sys.excepthook = sys.__excepthook__
    if threading.excepthook is _in_thread:
        threading.excepthook = threading.__excepthook__


def _in_process(kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace_back)
        return
    _logger.critical("uncaught exception", exc_info=(kind, error, trace_back))


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "unknown"
    _logger.error(
        "uncaught exception in thread",
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        extra={"thread.name": name},
    )
