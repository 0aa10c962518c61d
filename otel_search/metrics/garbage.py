"""No garbage collections while metrics are read: they would be many, and sooner or later a long one.

A reading makes some thousand objects and drops them within milliseconds. What is alive when a collection falls into it counts as
long-lived from then on: these objects, and all that belongs to the requests that are being served meanwhile. Once
enough has been counted, Python looks through all objects of the process, which stops its threads for 50 ms and more.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_state = {"readings": 0, "was_on": False}
_here = threading.local()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection begins within this; what it makes has to be dropped within it, too.

    Several threads may be in it, and an application that has switched collections off keeps that.
    """
    _begin()
    try:
        yield
    finally:
        _end()


@contextlib.contextmanager
def collected() -> Iterator[None]:
    """Within `uncollected`: somebody else's code, which may take as long as it likes."""
    if not getattr(_here, "is_reading", False):
        yield
        return
    _end()
    try:
        yield
    finally:
        _begin()


def _begin() -> None:
    _here.is_reading = True
    with _lock:
        if not _state["readings"]:
            _state["was_on"] = gc.isenabled()
            gc.disable()
        _state["readings"] += 1


def _end() -> None:
    _here.is_reading = False
    with _lock:
        _state["readings"] -= 1
        if not _state["readings"] and _state["was_on"]:
            gc.enable()


def _after_fork() -> None:
    """Whoever was reading in the parent is not in its child."""
    global _lock
    _lock = threading.Lock()
    if _state["readings"]:
        _state["readings"] = 0
        if _state["was_on"]:
            gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
