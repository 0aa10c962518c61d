"""Faults of our own: said once for each place, never raised into the application."""

from __future__ import annotations

import logging
import sys
import traceback

_logger = logging.getLogger("otel_search.elasticsearch")
_said: set[str] = set()


def report(place: str) -> None:
    """Log the exception that is being handled, once for each `place` in the life of the process.

    Its type and where it was raised, but not its message: that may quote a query or a document.
    """
    if place in _said:
        return
    _said.add(place)
    kind, _, trace = sys.exc_info()
    frames = traceback.extract_tb(trace)[-3:]
    _logger.warning(
        "otel-search: telemetry of Elasticsearch calls is incomplete, %s failed with %s (%s); the calls themselves "
        "are not affected",
        place,
        kind.__name__ if kind else "an unknown error",
        ", ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames)),
    )
