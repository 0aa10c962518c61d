"""The process's stdout, which may be a pipe that nobody reads: a log call must not wait for its reader.

A line is written at once, by the thread that logs it, as long as that cannot block: this costs what
`print` costs, nothing is lost if the process is killed, and handing each line to a thread would cost
more (see docs/logs.md). Only when a pipe, socket or terminal is full, lines wait in a `Writer` until
its reader goes on. Regular files and devices such as /dev/null have no reader to wait for.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from otel_search.logs.writer import Writer

# Linux 6.4 and later take it for pipes, too; elsewhere `poll` is asked first.
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "pwritev") else 0
_AT_ONCE = select.PIPE_BUF
"""What a pipe takes as a whole or not at all, so that workers that share it never cut into each other's lines."""
_FIRST = 1 << 30
"""The level of the rest of a line that is written in part: it never gives way."""


class Stdout:
    """Writes lines to `sys.stdout`, whatever that is at the moment.

    Args:
        lost: As for a `Writer`.
        recovered: As for a `Writer`.
    """

    def __init__(self, lost: Callable[[str, int], None], recovered: Callable[[Counter[int]], None]) -> None:
        self._lost = lost
        self._known: tuple[Any, int | None] = (None, None)
        self._can_nowait = bool(_NOWAIT)
        self._writer = Writer("stdout", self._write_waiting, lost, recovered, chunk=_AT_ONCE)
        self._lock = threading.RLock()

    def write(self, level: int, line: str) -> None:
        """Write a line with its end; `level` decides which lines give way when there is no room."""
        out = sys.stdout
        try:
            known, fd = self._known
            if out is not known:
                fd = _blocking_fd(out)
                self._known = (out, fd)
            if fd is None:
                with self._lock:
                    _write_text(out, line)
                return
            writer = self._writer
            with writer.lock:
                data = line.encode(out.encoding or "ascii", "backslashreplace")
                if writer.idle:
                    out.flush()  # what the application has printed before
                    written = self._write_now(fd, data)
                    if written == len(data):
                        return
                    if written:
                        level, data = _FIRST, data[written:]
                if not writer.closed:
                    writer.put(level, data)
                    return
            self._lost("after_shutdown", 1)
        except (OSError, ValueError, AttributeError):
            # A closed pipe, a closed or missing stdout: nobody is listening, and the service goes on.
            self._lost("write_failed", 1)

    def _write_now(self, fd: int, data: bytes) -> int:
        """Write without waiting; how many bytes went."""
        if self._can_nowait:
            try:
                return os.pwritev(fd, [data], -1, _NOWAIT)
            except BlockingIOError:
                return 0
            except BrokenPipeError:
                raise
            except OSError:
                self._can_nowait = False  # an older kernel, or a terminal
        if len(data) > _AT_ONCE:
            return 0
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        try:
            return os.write(fd, data) if poll.poll(0) else 0
        except BlockingIOError:
            return 0

    def _write_waiting(self, data: bytes) -> None:
        fd = self._known[1]
        if fd is None:
            raise ValueError("stdout has gone")
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:  # somebody else has made it non-blocking
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()

    def flush(self, timeout: float) -> bool:
        """As `Writer.flush`."""
        return self._writer.flush(timeout)

    def close(self, timeout: float) -> None:
        """As `Writer.close`; later lines are written if that does not block."""
        self._writer.close(timeout)

    def after_fork(self) -> None:
        """Forget the lines and locks of the parent."""
        self._lock = threading.RLock()
        self._writer.after_fork()


def _blocking_fd(out: Any) -> int | None:
    """The file descriptor of a stdout that has a reader to wait for, or `None`."""
    if out is None or type(out) is not io.TextIOWrapper:
        return None
    try:
        fd = out.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (stat.S_ISCHR(mode) and os.isatty(fd)):
        return fd
    return None


def _write_text(out: Any, line: str) -> None:
    try:
        out.write(line)
    except UnicodeEncodeError:
        encoding = out.encoding or "ascii"
        out.write(line.encode(encoding, "backslashreplace").decode(encoding))
    out.flush()
