"""Tells the shapes of searches to whoever wants to know: those that are described anyway, on a span or a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_search import semconv
from otel_search.elasticsearch import faults

Listener = Callable[[str, str, float], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Let `listener` be told the hash, the summary and the duration in seconds of each search from now on."""
    if listener not in _listeners:
        _listeners.append(listener)


def unlisten(listener: Listener) -> None:
    """Tell it no longer."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell(found: Mapping[str, Any], duration: float) -> None:
    """A call has ended.

    Args:
        found: The attributes of its span.
        duration: Seconds that it took.
    """
    for listener in _listeners:
        # Without a body, or with the query's text off, there is no hash, and the summary alone says what it is.
        shape, summary = found.get(semconv.QUERY_HASH, "-"), found.get(semconv.DB_QUERY_SUMMARY)
        if summary is not None:
            try:
                listener(shape, summary, duration)
            except Exception:
                faults.report("telling a query's shape")
