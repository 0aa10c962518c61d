"""Where the server is in its life, and whether its event loop turns."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import wrapt

_BEAT = 0.5


_lifecycles: weakref.WeakSet[Lifecycle] = weakref.WeakSet()


class Lifecycle:
    """Starting, serving or draining; without a lifespan an application serves from the start.

    Attributes:
        phase: `starting`, `serving` or `draining`.
    """

    def __init__(self) -> None:
        self.phase = "serving"
        _lifecycles.add(self)

    def starting(self) -> None:
        """The application begins to start."""
        self.phase = "starting"

    def serving(self) -> None:
        """The application has started."""
        self.phase = "serving"

    def draining(self) -> None:
        """The server was told to stop: what is under way is finished, nothing new should come."""
        self.phase = "draining"


def watch_servers() -> None:
    """See when uvicorn is told to stop, which is long before the application's lifespan ends."""
    wrapt.register_post_import_hook(_hook_uvicorn, "uvicorn.server")


def _hook_uvicorn(module: Any) -> None:
    original: Callable[..., Any] | None = getattr(module.Server, "handle_exit", None)
    if original is None or hasattr(original, "_otel_search"):
        return

    @functools.wraps(original)
    def handle_exit(server: Any, *args: Any, **kwargs: Any) -> Any:
        for lifecycle in list(_lifecycles):
            lifecycle.draining()
        return original(server, *args, **kwargs)

    handle_exit._otel_search = True  # type: ignore[attr-defined]
    module.Server.handle_exit = handle_exit
    # A worker of uvicorn's handles signals already when it imports the application.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if getattr(handler, "__func__", None) is original:
                signal.signal(number, handler.__self__.handle_exit)  # type: ignore[union-attr]


class LoopWatch:
    """Measures how late an event loop is: a beat every half second, which the loop itself calls.

    Args:
        on_lag: Told the lag at each beat, in seconds.
    """

    def __init__(self, on_lag: Callable[[float], None] | None = None) -> None:
        self.on_lag = on_lag
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._lock = threading.Lock()
        self._due = 0.0
        self._lag = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the loop that calls this, in place of an earlier one."""
        if self.loop is loop:
            return
        with self._lock:
            self._loop = weakref.ref(loop)
            self._lag = 0.0
            self._due = time.monotonic() + _BEAT
            loop.call_later(_BEAT, self._beat, self._loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that is watched, as long as it lives."""
        return None if self._loop is None else self._loop()

    def _beat(self, reference: weakref.ref[asyncio.AbstractEventLoop]) -> None:
        loop = reference()
        if reference is not self._loop or loop is None:
            return
        now = time.monotonic()
        self._lag = max(0.0, now - self._due)
        if self.on_lag is not None:
            self.on_lag(self._lag)
        self._due = now + _BEAT
        loop.call_later(_BEAT, self._beat, reference)

    def lag(self) -> float:
        """How late the loop is now, or was at its last beat, in seconds; 0 for one that has ended."""
        loop = self.loop
        if loop is None or loop.is_closed() or not loop.is_running():
            return 0.0
        return max(self._lag, time.monotonic() - self._due, 0.0)

    def after_fork(self) -> None:
        """A child has a loop of its own."""
        self._lock = threading.Lock()
        self._loop = None
