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

from otel_search.logs.event import EventChain
from otel_search.logs.file import LogFile
from otel_search.logs.from_logging import LoggingBridge
from otel_search.logs.from_loguru import LoguruBridge
from otel_search.logs.from_structlog import StructlogBridge
from otel_search.logs.kept import Kept
from otel_search.logs.levels import Levels
from otel_search.logs.outputs import Outputs
from otel_search.logs.policy import Policy
from otel_search.logs.render import console_line, json_line
from otel_search.logs.uncaught import Uncaught
from otel_search.logs.values import Values
from otel_search.logs.variables import RichTracebacks, Variables
from otel_search.redaction import redactor_of
from otel_search.settings import Settings

_installed: _Installation | None = None
_given_back: _Installation | None = None


class _Installation:
    def __init__(self, settings: Settings, service_name: str, stands_aside: bool, at_once: bool) -> None:
        self.at_once = at_once
        redactor = redactor_of(settings)
        kept = None if settings.redact == "off" else Kept(redactor)
        self.policy = Policy(settings.log_lines, settings.log_correlation, service_name, stands_aside, kept)
        as_console = settings.log_format == "console" or (
            settings.log_format == "auto" and sys.stdout is not None and sys.stdout.isatty()
        )
        values = Values(redactor)
        file = (
            LogFile(Path(settings.log_file).absolute(), settings.log_file_rotation, settings.log_file_keep)
            # A program that a service has started may be in another directory, and its lines are not the service's.
            if settings.log_file and not stands_aside
            else None
        )
        self.outputs = Outputs(console_line() if as_console else json_line, file)
        self.chain = EventChain(values, self.outputs, service_name, settings.log_sampling)
        self.logging = LoggingBridge(self.chain, self.policy)
        self.structlog = StructlogBridge(self.chain, self.policy)
        self.loguru = LoguruBridge(self.chain, self.policy)
        self.levels = Levels(self.structlog.set_levels)
        variables = Variables(redactor)
        self.rich = None if kept is None else RichTracebacks(variables, lambda: self.policy.stands_aside)
        self.uncaught = Uncaught(self.chain, lambda: self.policy.stands_aside)
        self._level = settings.log_level.upper()
        self._root_level: int | None = None
        self._captures_warnings = False
        self.activate()

    def activate(self) -> None:
        """Stand where all events pass."""
        self.uncaught.install()
        self.logging.install()
        self.structlog.install()
        self.loguru.install()
        if self.rich is not None:
            self.rich.install()
        self.chain.writes_lines = not self.policy.stands_aside
        if not self.policy.stands_aside:
            self.take_over()

    def take_over(self) -> None:
        """The lines of this process are its own."""
        self.policy.stands_aside, self.chain.writes_lines = False, True
        root = logging.getLogger()
        if root.level == logging.WARNING:  # Python's own default
            self._root_level = root.level
            root.setLevel(self._level)
        if logging._warnings_showwarning is None:  # type: ignore[attr-defined]
            self._captures_warnings = True
            logging.captureWarnings(capture=True)

    def deactivate(self) -> None:
        """Leave logging, structlog and loguru as they were."""
        self.chain.end_serving()
        self.levels.apply({})
        if self.rich is not None:
            self.rich.uninstall()
        self.loguru.uninstall()
        self.structlog.uninstall()
        self.logging.uninstall()
        self.uncaught.uninstall()
        if self._captures_warnings:
            self._captures_warnings = False
            logging.captureWarnings(capture=False)
        root = logging.getLogger()
        if self._root_level is not None and logging.getLevelName(root.level) == self._level:
            root.setLevel(self._root_level)
            self._root_level = None
        self.outputs.force_flush()


def install(settings: Settings, service_name: str, *, stands_aside: bool = False, at_once: bool = False) -> None:
    """Send every log event of this process down the chain; a second call does nothing.

    Args:
        settings: The settings of the process.
        service_name: The service.
        stands_aside: Whether this is a program that a service has started: what it writes stays as it is, until it
            turns out to be a server.
        at_once: Whether a server's lines, too, are made at once: a test looks at them right after its request.
    """
    global _installed
    if _installed is None:
        _installed = _Installation(settings, service_name, stands_aside, at_once)


def begin_serving() -> None:
    """A server begins to serve in this process: its lines are made by a thread, beside the event loop."""
    if _installed is not None:
        if _installed.policy.stands_aside:
            _installed.take_over()
        # A stdout in the place of the process's own is somebody's who reads it in the same process.
        if not _installed.at_once and sys.stdout is sys.__stdout__:
            _installed.chain.begin_serving()


def end_serving() -> None:
    """The server has served its last request: what is still logged is written at once."""
    if _installed is not None:
        _installed.chain.end_serving()


def drain() -> None:
    """Make the lines and records of all events until now."""
    if _installed is not None:
        _installed.chain.drain()


def uninstall() -> None:
    """Leave logging and structlog as they were, and end the outputs."""
    global _given_back
    give_back()
    if _given_back is not None:
        _given_back.outputs.shutdown()
        _given_back = None


def give_back() -> None:
    """Leave logging and structlog as they were, until `take_again`."""
    global _installed, _given_back
    if _installed is not None:
        _installed.deactivate()
        _installed, _given_back = None, _installed


def take_again() -> None:
    """Send all events down the chain again, after `give_back`."""
    global _installed, _given_back
    if _installed is None and _given_back is not None:
        _given_back.activate()
        _installed, _given_back = _given_back, None


def chain() -> EventChain | None:
    """The installed chain, for events that are ours from the start."""
    return None if _installed is None else _installed.chain


def outputs() -> Outputs | None:
    """Where lines go, for the one who ends the process: it can be flushed and shut down as a provider can."""
    return None if _installed is None else _installed.outputs


def levels() -> Levels | None:
    """The levels of loggers, for the one who changes them while the service runs."""
    return None if _installed is None else _installed.levels


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
        _installed.chain.after_fork()
        _installed.outputs.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
