"""Faults of our own: said once for each place, never raised into the application."""

from __future__ import annotations

import logging
import sys

_logger = logging.getLogger("otel_search.elasticsearch")
_said: set[str] = set()


def report(place: str) -> None:
    """Log the exception that is being handled, once for each `place` in the life of the process."""
    if place in _said:
        return
    _said.add(place)
    _logger.warning(
        "otel-search: telemetry of Elasticsearch calls is incomplete, %s failed; the calls themselves are not affected",
        place,
        exc_info=sys.exc_info(),
    )
