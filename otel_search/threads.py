"""Threads that are started inside a request belong to it: their spans and log lines carry its ids.

Python starts a thread with an empty context. Here a thread that is started inside a request, and
whatever is submitted to a `ThreadPoolExecutor` (`run_in_executor` included), gets a copy of the
context it came from, as `asyncio.to_thread` does. What is submitted outside of a request to a
pool whose threads were started inside one gets its own context too, and no stranger's ids.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from otel_search.context import REQUEST_ID

# The threads of a pool outlive the request; what they work on brings its own context.
_POOLS = frozenset({"concurrent.futures.thread", "anyio._backends._asyncio"})

_originals: dict[type, tuple[str, Callable[..., Any]]] = {}


def install() -> None:
    """Let threads inherit the context of the request that starts them; a second call does nothing."""
    if not _originals:
        _replace(threading.Thread, "start", _starting)
        _replace(ThreadPoolExecutor, "submit", _submitting)


def uninstall() -> None:
    """Leave threads as Python makes them, unless somebody else has wrapped ours meanwhile."""
    for owner, (name, original) in _originals.items():
        if getattr(owner.__dict__[name], "__wrapped__", None) is original:
            setattr(owner, name, original)
    _originals.clear()


def _replace(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    original = owner.__dict__[name]
    _originals[owner] = (name, original)
    setattr(owner, name, make(original))


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(self: Any) -> None:
        modules = {type(self).__module__, getattr(getattr(self, "_target", None), "__module__", None)}
        if REQUEST_ID.get() is not None and _POOLS.isdisjoint(modules):
            self.run = functools.partial(copy_context().run, self.run)
        original(self)

    return start


def _submitting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return original(self, copy_context().run, fn, *args, **kwargs)  # type: ignore[no-any-return]

    return submit
