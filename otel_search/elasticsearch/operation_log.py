"""The log line `elasticsearch operation`: one for each call that is worth it, and no flood in an outage."""

from __future__ import annotations

import logging
from threading import Lock
from time import monotonic
from typing import Any

from otel_search import semconv

_logger = logging.getLogger("otel_search.elasticsearch")

# Lines of one kind within one window; an outage makes thousands of calls fail in the same way.
_LINES = 5
_WINDOW = 10.0
_MAX_KINDS = 256


class OperationLog:
    """Writes the lines, and counts the warnings and errors that it did not write.

    Args:
        lines: Lines of one kind (operation, level and error) in one window.
        window: Length of a window in seconds.
    """

    def __init__(self, lines: int = _LINES, window: float = _WINDOW) -> None:
        self._lines = lines
        self._window = window
        self._lock = Lock()
        self._ends = 0.0
        self._written: dict[tuple[str, int, str], int] = {}
        self._suppressed: dict[tuple[str, int, str], int] = {}

    def wants(self, level: int) -> bool:
        """Whether a line of this level would be seen at all."""
        return _logger.isEnabledFor(level)

    def write(self, level: int, operation: str, kind: str, fields: dict[str, Any]) -> None:
        """Write the line of a call.

        Args:
            level: `logging.DEBUG` for ordinary success, which is never suppressed.
            operation: The name of the call's span.
            kind: What is wrong with it: an error type, an outcome, `slow`.
            fields: The line's own fields, under their schema names.
        """
        if level > logging.DEBUG:
            self.settle()
            if not self._admit((operation, level, kind)):
                return
        _logger.log(level, semconv.ELASTICSEARCH_OPERATION, extra={"otel_search_fields": fields})

    def _admit(self, kind: tuple[str, int, str]) -> bool:
        with self._lock:
            if kind not in self._written and len(self._written) >= _MAX_KINDS:
                kind = ("", logging.WARNING, "")
            if self._written.get(kind, 0) >= self._lines:
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return False
            self._written[kind] = self._written.get(kind, 0) + 1
            return True

    @property
    def has_suppressed(self) -> bool:
        """Whether there are lines that were not written and not yet spoken of."""
        return bool(self._suppressed)

    def settle(self, *, at_end: bool = False) -> None:
        """Begin a new window if the last one is over, and say what it suppressed."""
        now = monotonic()
        if now < self._ends and not at_end:
            return
        with self._lock:
            if now < self._ends and not at_end:
                return
            self._ends = now + self._window
            self._written.clear()
            suppressed, self._suppressed = self._suppressed, {}
        for (operation, level, kind), count in suppressed.items():
            fields = {semconv.DB_QUERY_SUMMARY: operation, semconv.SUPPRESSED_KIND: kind, semconv.SUPPRESSED: count}
            _logger.log(level, semconv.OPERATIONS_SUPPRESSED, extra={"otel_search_fields": fields})
