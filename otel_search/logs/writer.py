"""One thread that writes what must not be waited for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import Context

from otel_search.logs.backlog import Backlog

_STALL_SECONDS = 0.5
"""A flush gives up when nothing has moved for so long: nobody reads, or the disk hangs."""


class Writer:
    """Writes lines in the background, in their order.

    Args:
        name: What it writes to, for the name of its thread.
        write: Writes some whole lines, and may block; `OSError` costs these lines.
        lost: Told why lines are lost, and how many.
        recovered: Told how many lines of each level found no room, when there is room again.
        chunk: Bytes that it writes at once, at most, unless one line has more.
        linger: Seconds that it lets lines gather before it writes them.
        backlog: Where lines wait.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[bytes], None],
        lost: Callable[[str, int], None],
        recovered: Callable[[Counter[int]], None],
        *,
        chunk: int,
        linger: float = 0.0,
        backlog: Backlog | None = None,
    ) -> None:
        self._name = name
        self._write = write
        self._lost = lost
        self._recovered = recovered
        self._chunk = chunk
        self._linger = linger
        self._backlog = backlog or Backlog()
        self.closed = False
        self._start()

    def _start(self) -> None:
        # Reentrant: a signal handler and a finalizer may log in the midst of a log call.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._in_hand = 0
        self._moved = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return not self._in_hand and not self._backlog

    def put(self, level: int, line: bytes) -> None:
        """Let a line be written; without room for it the least severe lines are lost."""
        with self.lock:
            alive = self._thread is not None or self._begin()
            gone = self._backlog.put(level, line) if alive else 1
            if self._asleep:
                self._asleep = False
                self._changed.notify_all()
        if gone:
            self._lost("queue_full" if alive else "after_shutdown", gone)

    def _begin(self) -> bool:
        thread = threading.Thread(target=self._run, name=f"otel-search {self._name}", daemon=True)
        try:
            # In no request's context, though a request may be the first that needs it.
            Context().run(thread.start)
        except RuntimeError:  # the interpreter is ending
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._backlog:
                    self._asleep = True
                    self._changed.wait()
            if self._linger:
                self._hurry.wait(self._linger)
            with self.lock:
                lines = self._backlog.take(self._chunk)
                self._in_hand = len(lines)
            try:
                if lines:
                    self._write(b"".join(lines))
            except (OSError, ValueError):
                self._lost("write_failed", len(lines))
            finally:
                with self._changed:
                    self._in_hand = 0
                    self._moved = time.monotonic()
                    dropped = Counter[int]() if self._backlog else self._backlog.dropped.copy()
                    if dropped:
                        self._backlog.dropped.clear()
                    self._changed.notify_all()
            if dropped:
                self._recovered(dropped)

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written, or nothing moves any more.

        Args:
            timeout: The longest to wait, in seconds.

        Returns:
            Whether everything is written.
        """
        deadline = time.monotonic() + timeout
        self._hurry.set()
        try:
            with self._changed:
                started = time.monotonic()
                while not self.idle:
                    now = time.monotonic()
                    left = min(deadline, max(started, self._moved) + _STALL_SECONDS) - now
                    if left <= 0:
                        return False
                    self._changed.wait(left)
                return True
        finally:
            self._hurry.clear()

    def close(self, timeout: float) -> None:
        """Flush, and count what cannot be written as lost.

        Args:
            timeout: The longest to wait, in seconds.
        """
        self.closed = True
        if not self.flush(timeout):
            with self.lock:
                left = self._in_hand + self._backlog.clear()
            if left:
                self._lost("shutdown_timeout", left)

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's, and the thread stayed there."""
        self._backlog.clear()
        self.closed = False
        self._start()
