"""Events of a server wait a moment for a thread that makes lines and records of them: not the caller's business.

Making an event's line and record takes longer than all that logging otherwise is. A server's event loop
only keeps what it was given, and the thread does the rest a few milliseconds later, many at a time, since
waking a thread for each line would cost more than the line. It never waits for anybody: where nobody reads,
lines go on waiting in a `Writer`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

_LINGER_SECONDS = 0.005
_AT_ONCE = 4
"""Events in a row, before the event loop gets a chance to go on."""
_MOST = 2_000
"""Waiting events from which on each caller helps with the oldest: there is no time left in this process."""


class Behind:
    """A queue of events and its thread.

    Args:
        write: Makes line and record of an event, given its arguments; called in the context it was logged in.
    """

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._events: deque[tuple[Context, tuple[Any, ...]]] = deque()
        # Reentrant: a processor of the user's own may log as well.
        self._lock = threading.RLock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._asleep = False
        self._ended = False
        self._thread = threading.Thread(target=Context().run, args=(self._run,), name="otel-search lines", daemon=True)
        self._thread.start()

    def put(self, context: Context, event: tuple[Any, ...]) -> None:
        """Keep an event, with the context it was logged in."""
        self._events.append((context, event))
        if self._asleep:
            self._asleep = False
            with contextlib.suppress(RuntimeError):  # another thread was as quick
                self._bell.release()
        elif len(self._events) > _MOST:
            self.drain(_AT_ONCE)

    def _run(self) -> None:
        while not self._ended:
            self._asleep = True
            if not self._events:
                self._bell.acquire()
            self._asleep = False
            time.sleep(_LINGER_SECONDS)
            while self._events:
                self.drain(_AT_ONCE)
                time.sleep(0)

    def drain(self, most: int | None = None) -> None:
        """Write what waits now, in its order; at most so many events."""
        with self._lock:
            for _ in range(len(self._events) if most is None else most):
                if not self._events:  # also where what is written logs an error, which does this again
                    return
                context, event = self._events.popleft()
                context.run(self._write, *event)

    def end(self) -> None:
        """Write what waits; nothing is put any more."""
        self._ended = True
        self.drain()
        with contextlib.suppress(RuntimeError):
            self._bell.release()
