"""Events of a server wait until their request is answered: making lines and records of them is not its business.

That takes longer than all that logging otherwise is. So a log call only keeps what it was given, and
what waits is made when a request has been answered, on the event loop, where nobody waits for it any more. What
is logged outside of requests, or in long ones, or in masses, is made by a thread. That one is the
second choice: it fights with the event loop for Python's one lock, which costs more than a line
does. Neither ever waits for anybody: where nobody reads, lines go on waiting in a `Writer`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

_LINGER_SECONDS = 0.1
_AT_ONCE = 4
"""Events in a row that the thread makes, before the event loop gets a chance to go on."""
_AT_END = 16
"""Events that are made at the end of a request, at most: its server has others to serve."""
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
        self._ended = threading.Event()
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
        while not self._ended.is_set():
            self._asleep = True
            if not self._events:
                self._bell.acquire()
            self._asleep = False
            self._ended.wait(_LINGER_SECONDS)
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

    def catch_up(self) -> bool:
        """Write what waits if it is not much.

        Returns:
            Whether nothing waits any more.
        """
        if self._events:
            self.drain(_AT_END)
        return not self._events

    def end(self) -> None:
        """Write what waits; nothing is put any more."""
        self._ended.set()
        self.drain()
        with contextlib.suppress(RuntimeError):
            self._bell.release()
