"""Levels of loggers that are changed while the service runs, and that go back by themselves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ROOT = "root"

Change = tuple[int, float]
"""A level, and until when, in seconds since the epoch."""

_logger = logging.getLogger("otel_search.logs")


@dataclass(frozen=True)
class State:
    """The level of a logger.

    Attributes:
        level: Its own, or `None` if it takes its parent's.
        effective: What counts.
        until: When a change goes back, in seconds since the epoch.
    """

    level: int | None
    effective: int
    until: float | None


class Levels:
    """The changes in this process.

    Args:
        tell_structlog: Told the changed levels by logger, all of them each time.
    """

    def __init__(self, tell_structlog: Callable[[Mapping[str, int]], None]) -> None:
        self._tell_structlog = tell_structlog
        self._lock = threading.RLock()
        self._changes: dict[str, Change] = {}
        self._before: dict[str, int] = {}

    @property
    def changes(self) -> dict[str, Change]:
        """What is changed at this moment."""
        return dict(self._changes)

    def state(self, name: str) -> State:
        """The level of a logger, whether it exists or not."""
        with self._lock:
            change = self._changes.get(name)
            own, effective = _level_of(name)
            return State(own, effective, None if change is None else change[1])

    def apply(self, changes: Mapping[str, Change]) -> None:
        """Make these the changes: new ones are set, and those that are not among them go back.

        Args:
            changes: By logger; those whose time is over count as none.
        """
        now = time.time()
        with self._lock:
            wanted = {name: change for name, change in changes.items() if change[1] > now}
            for name in [name for name in self._changes if name not in wanted]:
                level, _ = self._changes.pop(name)
                logger = _logger_of(name)
                # Unless the application has set another one meanwhile.
                if logger.level == level:
                    logger.setLevel(self._before[name])
                self._before.pop(name, None)
                _logger.info("the level of the logger %s is as before", name)
            for name, (level, until) in wanted.items():
                known = self._changes.get(name)
                self._changes[name] = (level, until)
                if known is not None and known[0] == level:
                    continue
                logger = _logger_of(name)
                self._before.setdefault(name, logger.level)
                logger.setLevel(level)
                word = logging.getLevelName(level).lower()
                _logger.info("the level of the logger %s is %s for %.0f seconds", name, word, until - now)
            self._tell_structlog({name: level for name, (level, _) in self._changes.items()})

    def expire(self) -> None:
        """Let go back what has had its time."""
        if any(until <= time.time() for _, until in self._changes.values()):
            self.apply(self.changes)


def known_loggers() -> list[str]:
    """The names of the loggers of `logging` that have a level of their own."""
    found: dict[str, Any] = dict(logging.getLogger().manager.loggerDict)
    return sorted(name for name, logger in found.items() if isinstance(logger, logging.Logger) and logger.level)


def _logger_of(name: str) -> logging.Logger:
    return logging.getLogger() if name == ROOT else logging.getLogger(name)


def _level_of(name: str) -> tuple[int | None, int]:
    if name != ROOT and name not in logging.getLogger().manager.loggerDict:
        # Asking must not make it.
        while "." in name:
            name = name.rpartition(".")[0]
            if isinstance(logging.getLogger().manager.loggerDict.get(name), logging.Logger):
                return None, logging.getLogger(name).getEffectiveLevel()
        return None, logging.getLogger().level
    logger = _logger_of(name)
    return logger.level or None, logger.getEffectiveLevel()
