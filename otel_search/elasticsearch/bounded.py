"""Values of metric attributes, bounded in number: metrics must not grow with the data."""

from __future__ import annotations

import threading

from otel_search.semconv import OTHER


class Bounded:
    """Lets the first `limit` different values through; later ones are `_other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, value: str) -> str:
        """`value` if it is one of the first, else `_other`."""
        if value not in self._seen:
            with self._lock:
                if len(self._seen) >= self._limit and value not in self._seen:
                    return OTHER
                self._seen.add(value)
        return value
