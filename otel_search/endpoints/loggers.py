"""`/admin/loggers`: what the levels of loggers are, and how they are changed for a while, in all workers.

The workers of a server share a directory (see `metrics.workers`). There the changes are a file, which each
worker looks at once a second. Whatever the changes are, they end: a level that somebody has forgotten to set
back fills no disk.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from otel_search import logs
from otel_search.endpoints.response import Request, Response, json, text
from otel_search.logs.levels import ROOT, Change, Levels, known_loggers

PATH = "/admin/loggers"
BELOW = f"{PATH}/"

_logger = logging.getLogger("otel_search.endpoints")

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
_DEFAULT_SECONDS = 600
_MAX_SECONDS = 86_400
_MAX_CHANGES = 100
_LOOK_SECONDS = 1.0


class _WrongError(ValueError):
    """What was asked for cannot be done; its text says why."""


class Loggers:
    """Answers for the levels of loggers.

    Args:
        directory: Where the workers of this server meet; `None` if this process serves alone.
    """

    def __init__(self, directory: Callable[[], Path | None]) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._is_watching = False
        self._read_at = 0

    def begin(self) -> None:
        """A server begins to serve: what other workers were told counts here, too."""
        self._is_watching = False
        if self._directory() is not None:
            self._watch()

    def answer(self, request: Request) -> Response:
        """Answer an authorized request for `PATH` or below."""
        levels = logs.levels()
        if levels is None:
            return text(503, "the levels of loggers are not otel-search's business in this process")
        name = request.path.removeprefix(PATH).removeprefix("/")
        try:
            if request.method == "PUT":
                return json(200, self._change(levels, name, request.body))
            if name:
                return json(200, self._shown(levels, _checked(name)))
        except _WrongError as error:
            return text(400, str(error))
        names = dict.fromkeys((ROOT, *known_loggers(), *levels.changes))
        return json(200, {"loggers": [self._shown(levels, each) for each in names]})

    def _change(self, levels: Levels, name: str, body: bytes) -> dict[str, Any]:
        level, seconds = _wish(body)
        with self._lock:
            self._read(levels)
            changes: dict[str, Change] = levels.changes
            changes.pop(_checked(name), None)
            if level is not None:
                if len(changes) >= _MAX_CHANGES:
                    raise _WrongError(f"{_MAX_CHANGES} loggers have changed levels already; accepted: fewer")
                changes[name] = (level, time.time() + seconds)
            directory = self._directory()
            if directory is not None:
                _write(directory / "levels.json", changes)
            levels.apply(changes)
        self._watch()
        return self._shown(levels, name)

    def _shown(self, levels: Levels, name: str) -> dict[str, Any]:
        state = levels.state(name)
        until = None if state.until is None else datetime.fromtimestamp(state.until, UTC).isoformat(timespec="seconds")
        return {
            "logger": name,
            "level": None if state.level is None else _word(state.level),
            "effective_level": _word(state.effective),
            "until": until,
        }

    def _watch(self) -> None:
        """Look every second, as long as there is anything to look at."""
        with self._lock:
            if self._is_watching:
                return
            self._is_watching = True
        threading.Thread(target=Context().run, args=(self._run,), name="otel-search levels", daemon=True).start()

    def _run(self) -> None:
        while True:
            levels = logs.levels()
            try:
                with self._lock:
                    if levels is not None:
                        self._read(levels)
                        levels.expire()
                    if levels is None or (not levels.changes and self._directory() is None):
                        self._is_watching = False
                        return
            except Exception as error:
                _logger.debug("the levels of loggers could not be read: %r", error)
            time.sleep(_LOOK_SECONDS)

    def _read(self, levels: Levels) -> None:
        """Do what another worker was told."""
        directory = self._directory()
        if directory is None:
            return
        try:
            path = directory / "levels.json"
            written_at = path.stat().st_mtime_ns
            if written_at == self._read_at:
                return
            changes = _read(path)
        except FileNotFoundError:
            return
        self._read_at = written_at
        levels.apply(changes)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _WrongError(f"logger={name[:80]!r} is not accepted; accepted: a logger's name, or {ROOT}")
    return name


def _wish(body: bytes) -> tuple[int | None, float]:
    try:
        wish = orjson.loads(body)
    except orjson.JSONDecodeError:
        wish = None
    if not isinstance(wish, dict) or "level" not in wish:
        raise _WrongError('the body is not accepted; accepted: JSON such as {"level": "debug", "for": 300}')
    for name in wish.keys() - {"level", "for"}:
        raise _WrongError(f"{name[:80]!r} is not accepted; accepted: level, for")
    level, seconds = wish["level"], wish.get("for", _DEFAULT_SECONDS)
    if level is not None and (not isinstance(level, str) or level.lower() not in _LEVELS):
        raise _WrongError(f"level={str(level)[:80]!r} is not accepted; accepted: {' | '.join(_LEVELS)}, or null")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= _MAX_SECONDS:
        raise _WrongError(
            f"for={str(seconds)[:80]!r} is not accepted; accepted: seconds, above 0, at most {_MAX_SECONDS}"
        )
    return None if level is None else _LEVELS[level.lower()], seconds


def _word(level: int) -> str:
    return logging.getLevelName(level).lower()


def _write(path: Path, changes: Mapping[str, Change]) -> None:
    fresh = path.with_suffix(f".{threading.get_native_id()}.new")
    fresh.write_bytes(orjson.dumps(changes))
    fresh.replace(path)


def _read(path: Path) -> dict[str, Change]:
    return {str(name): (int(level), float(until)) for name, (level, until) in orjson.loads(path.read_bytes()).items()}
