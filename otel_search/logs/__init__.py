"""One chain for structlog and the standard library: each event is one line on stdout and one OTLP record.

`install()` hooks both libraries where every event passes, so it does not matter which of them an
application uses, nor whether it configures them before or after us, or not at all.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from otel_search.logs import uncaught
from otel_search.logs.event import EventChain
from otel_search.logs.file import LogFile
from otel_search.logs.from_logging import LoggingBridge
from otel_search.logs.from_structlog import StructlogBridge
from otel_search.logs.outputs import Outputs
from otel_search.logs.render import console_line, json_line
from otel_search.logs.values import Values
from otel_search.redaction import redactor_of
from otel_search.settings import Settings

_installed: _Installation | None = None


class _Installation:
    def __init__(self, settings: Settings, service_name: str) -> None:
        as_console = settings.log_format == "console" or (
            settings.log_format == "auto" and sys.stdout is not None and sys.stdout.isatty()
        )
        values = Values(redactor_of(settings))
        file = (
            LogFile(Path(settings.log_file).absolute(), settings.log_file_rotation, settings.log_file_keep)
            if settings.log_file
            else None
        )
        self.outputs = Outputs(console_line() if as_console else json_line, file)
        self.chain = EventChain(values, self.outputs, service_name)
        self.logging = LoggingBridge(self.chain)
        self.structlog = StructlogBridge(self.chain)
        root = logging.getLogger()
        self.root_level = root.level
        if root.level == logging.WARNING:  # Python's own default
            root.setLevel(settings.log_level.upper())
        self.captured_warnings = logging._warnings_showwarning is not None  # type: ignore[attr-defined]
        logging.captureWarnings(capture=True)
        uncaught.install()
        self.logging.install()
        self.structlog.install()

    def remove(self) -> None:
        self.structlog.uninstall()
        self.logging.uninstall()
        uncaught.uninstall()
        if not self.captured_warnings:
            logging.captureWarnings(capture=False)
        logging.getLogger().setLevel(self.root_level)
        self.outputs.shutdown()


def install(settings: Settings, service_name: str) -> None:
    """Send every log event of this process down the chain; a second call does nothing."""
    global _installed
    if _installed is None:
        _installed = _Installation(settings, service_name)


def uninstall() -> None:
    """Leave logging and structlog as they were."""
    global _installed
    if _installed is not None:
        _installed.remove()
        _installed = None


def chain() -> EventChain | None:
    """The installed chain, for events that are ours from the start."""
    return None if _installed is None else _installed.chain


def outputs() -> Outputs | None:
    """Where lines go, for the one who ends the process: it can be flushed and shut down as a provider can."""
    return None if _installed is None else _installed.outputs


def replace(names: Iterable[str]) -> None:
    """Drop the records of these loggers, because our own lines take their place."""
    if _installed is not None:
        _installed.logging.replace(names)


def ignore_handlers(exports_to_the_same: Callable[[Any], bool]) -> None:
    """Ignore OpenTelemetry's own logging handlers that would send each record a second time.

    Args:
        exports_to_the_same: Whether a logger provider, which is not the global one, exports to where ours does.
    """
    if _installed is not None:
        _installed.logging.exports_to_the_same = exports_to_the_same


def _after_fork() -> None:
    if _installed is not None:
        _installed.outputs.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
