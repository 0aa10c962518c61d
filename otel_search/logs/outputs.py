"""Where lines go, and what is said of those that could not go there."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from opentelemetry import metrics

from otel_search import semconv
from otel_search.logs.file import LogFile
from otel_search.logs.render import Render, json_line
from otel_search.logs.stdout import Stdout
from otel_search.logs.writer import Writer

_QUIET_SECONDS = 60.0
_FILE_CHUNK = 256 * 1024
_FILE_LINGER = 0.05
"""Seconds: a lock and a write serve all lines of so long, and no more is lost if the process is killed."""
_CLOSE_SECONDS = 5.0
"""Nothing waits so long unless lines keep moving; and the end of the process has a bound of its own."""

Announce = Callable[[int, str, Mapping[str, Any], bool], None]
"""Emits an event of the outputs' own: level, event, fields, and whether it is a line, or a record only."""


class Outputs:
    """Writes each event to stdout, and to a file if there is one.

    Args:
        render: Makes the line on stdout; the file's is always JSON.
        file: The file.
    """

    def __init__(self, render: Render, file: LogFile | None = None) -> None:
        self._render = render
        self._file = file
        self._dropped = semconv.TELEMETRY_DROPPED.on(metrics.get_meter(semconv.SCOPE))
        self.announce: Announce = lambda *_: None
        self.before_flush: Callable[[], None] = lambda: None
        """Makes the lines of what was logged until now."""
        self.before_end: Callable[[], None] = lambda: None
        """The same, and from then on each line is made at once."""
        self.has_file = file is not None
        self._lost: Counter[str] = Counter()
        self._said_at = -_QUIET_SECONDS
        self._file_lock = threading.RLock()
        self._stdout = Stdout(self._counting("stdout"), self._recovered("stdout"))
        self._file_failed = False
        self._file_writer = Writer(
            "file",
            self._write_file,
            self._counting("file"),
            self._recovered("file"),
            chunk=_FILE_CHUNK,
            linger=_FILE_LINGER,
        )

    def write(self, level: int, fields: Mapping[str, Any], *, to_stdout: bool = True) -> None:
        """Write an event, whose fields are safe values."""
        line = ""
        if to_stdout:
            line = self._render(fields)
            self._stdout.write(level, line + "\n")
        if self._file is None:
            return
        data = (line if line and self._render is json_line else json_line(fields)).encode() + b"\n"
        if not self._file_writer.closed:
            self._file_writer.put(level, data)
            return
        try:
            self._write_file(data)
        except OSError:
            self._counting("file")("write_failed", 1)

    def _write_file(self, data: bytes) -> None:
        assert self._file is not None
        try:
            with self._file_lock:
                self._file.write(data)
        except OSError as error:
            if not self._file_failed:
                self._file_failed = True
                fields = {semconv.LOG_EVENT: "the log file cannot be written", "file": str(self._file.path)}
                _say_on_stderr({**fields, "error": f"{type(error).__name__}: {error.strerror}"})
            raise
        if self._file_failed:
            self._file_failed = False
            again = {"file": str(self._file.path), "dropped": self._lost["file"]}
            self.announce(logging.WARNING, "the log file is written again", again, True)

    def count_lost(self, signal: str, reason: str, lines: int) -> None:
        """Count lines that were not written, and say nothing."""
        self._dropped.add(lines, {"search.telemetry.signal": signal, "search.telemetry.reason": reason})

    def _counting(self, output: str) -> Callable[[str, int], None]:
        def lost(reason: str, lines: int) -> None:
            self._lost[output] += lines
            self._dropped.add(lines, {"search.telemetry.signal": output, "search.telemetry.reason": reason})
            now = time.monotonic()
            if reason == "queue_full" and now - self._said_at >= _QUIET_SECONDS:
                self._said_at = now
                self.announce(logging.WARNING, "log lines are being lost", {"output": output, "reason": reason}, False)

        return lost

    def _recovered(self, output: str) -> Callable[[Counter[int]], None]:
        def recovered(lost: Counter[int]) -> None:
            by_level = {logging.getLevelName(level).lower(): lines for level, lines in sorted(lost.items())}
            fields = {"output": output, "dropped": sum(lost.values()), "by_level": by_level}
            self.announce(logging.WARNING, "log lines were lost", fields, True)

        return recovered

    def force_flush(self, timeout_millis: int = 30_000) -> None:
        """Write what waits, as long as it moves.

        Args:
            timeout_millis: The longest to wait, in milliseconds.
        """
        self.before_flush()
        self._stdout.flush(timeout_millis / 1000)
        self._file_writer.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Write what waits, and say on stderr how many lines had no reader."""
        self.before_end()
        before = self._lost.copy()
        self._stdout.close(_CLOSE_SECONDS)
        self._file_writer.close(_CLOSE_SECONDS)
        lost = {output: lines for output, lines in (self._lost - before).items() if lines}
        if lost:
            _say_on_stderr({semconv.LOG_EVENT: "log lines were lost", "reason": "shutdown_timeout", **lost})

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._lost.clear()
        self._stdout.after_fork()
        self._file_lock = threading.RLock()
        self._file_writer.after_fork()
        if self._file is not None:
            self._file.after_fork()


def _say_on_stderr(fields: Mapping[str, Any]) -> None:
    """One line, if stderr takes it at once: it may be the same pipe."""
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            os.write(2, orjson.dumps(fields) + b"\n")
