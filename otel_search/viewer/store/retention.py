"""What has to go: the oldest of everything, when it is too old or there is too much."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_search.viewer.store.counts import MINUTE, SECOND

if TYPE_CHECKING:
    import sqlite3

# Rows that go in one transaction, so that writing goes on in between. The more they are, the less often each page
# of the indices is written; of a smaller store they would be too large a part.
_TRACES, _LOGS, _POINTS = 4_000, 12_000, 20_000
_WHOLE_PORTIONS = 256 * 1024 * 1024

_OLDEST = "SELECT id FROM traces WHERE start < ? ORDER BY start LIMIT ?"

_SHARE = 0.1
"""The largest part of all log records that goes at once."""

_LATEST = 2**63 - 1

_FINE_SLOTS = 2 * 3600
"""Seconds that the finest slots of requests are kept."""

_TABLES = (
    "traces", "spans", "calls", "shapes", "shape_minutes", "shape_durations", "requests", "edges", "logs",
    "metrics", "series", "points", "exemplars", "resources",
)  # fmt: skip


class Retention:
    """Deletes the oldest through one connection, within the caller's transaction.

    Args:
        max_size: Bytes that may be in use in the file.
        max_age: Seconds that something is kept.
    """

    def __init__(self, connection: sqlite3.Connection, *, max_size: int, max_age: float) -> None:
        self._connection = connection
        self._max_size = max_size
        self._max_age = max_age
        self._traces, self._logs, self._points = (
            max(1, min(rows, rows * max_size // _WHOLE_PORTIONS)) for rows in (_TRACES, _LOGS, _POINTS)
        )

    def size(self) -> int:
        """Bytes in use in the file."""
        pages, free, page_size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_size

    def has_room(self, wanted: int) -> bool:
        """Whether so many bytes more may be in use."""
        return self.size() + wanted <= self._max_size

    def delete_old(self) -> bool:
        """Delete a portion of what is too old; whether anything went."""
        now = time.time_ns()
        self._connection.execute("DELETE FROM requests WHERE step = 5 AND slot < ?", (now // SECOND - _FINE_SLOTS,))
        return self._delete_before(now - int(self._max_age * SECOND))

    def delete_oldest(self) -> bool:
        """Delete a portion of the oldest, however old it is, and what only it referred to; whether anything went."""
        ends = (
            self._value("SELECT start FROM traces ORDER BY start LIMIT 1 OFFSET ?", self._traces),
            self._value("SELECT until FROM points ORDER BY until LIMIT 1 OFFSET ?", self._points),
        )
        known = [end for end in ends if end is not None]
        # The row at such an end goes itself, so something always does; few rows go whatever their times.
        deleted = self._delete_before(min(known) + 1 if known else _LATEST)
        deleted = self._delete_share_of_logs() or deleted
        self.delete_orphans()
        # Resources go by their age alone; without anything that refers to them they all may.
        return deleted or (not self._is_empty and self.clear())

    @property
    def _is_empty(self) -> bool:
        return self._connection.execute("SELECT 1 FROM resources").fetchone() is None

    def _delete_share_of_logs(self) -> bool:
        """Delete as large a part of the log records as of the traces, whatever times they say."""
        (first, last), (first_trace, last_trace) = (
            # Both in one query would read the whole table.
            self._connection.execute(
                f"SELECT (SELECT min(id) FROM {table}), (SELECT max(id) FROM {table})"  # noqa: S608
            ).fetchone()
            for table in ("logs", "traces")
        )
        if first is None:
            return False
        traces = 0 if first_trace is None else last_trace - first_trace + 1
        share = min(self._traces / traces, _SHARE) if traces else _SHARE
        self._delete_logs(first + min(int((last - first + 1) * share), 2 * self._logs))
        return True

    def delete_orphans(self) -> bool:
        """Delete what nothing refers to any more: shapes without calls, series without points."""
        before = self._connection.total_changes
        self._connection.execute(
            "DELETE FROM shapes WHERE NOT EXISTS (SELECT 1 FROM calls WHERE calls.shape = shapes.id)"
        )
        self._connection.execute(
            "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM points WHERE points.series = series.id)"
        )
        self._connection.execute(
            "DELETE FROM metrics WHERE NOT EXISTS (SELECT 1 FROM series WHERE series.metric = metrics.id)"
        )
        self._connection.execute(
            "DELETE FROM resources WHERE last < ? AND id NOT IN (SELECT resource FROM series)",
            (time.time_ns() - int(self._max_age * SECOND),),
        )
        return self._connection.total_changes > before

    def clear(self) -> bool:
        """Delete everything."""
        for table in _TABLES:
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608
        for words in ("span_words", "log_words"):
            self._connection.execute(f"INSERT INTO {words} ({words}) VALUES ('delete-all')")  # noqa: S608
        return True

    def _delete_logs(self, last: int) -> None:
        self._connection.execute(
            "INSERT INTO log_words (log_words, rowid, body, attributes)"
            " SELECT 'delete', id, body, attributes FROM logs WHERE id <= ?",
            (last,),
        )
        self._connection.execute("DELETE FROM logs WHERE id <= ?", (last,))

    def _value(self, query: str, offset: int) -> int | None:
        row = self._connection.execute(query, (offset,)).fetchone()
        return None if row is None else int(row[0])

    def _delete_before(self, end: int) -> bool:
        execute = self._connection.execute
        before = self._connection.total_changes
        # A statement for all of them: at the beginning of each, the full-text index writes down what it has in memory.
        portion = (end, self._traces)
        execute(
            "INSERT INTO span_words (span_words, rowid, name, status_message, attributes, events)"  # noqa: S608
            f" SELECT 'delete', id, name, status_message, attributes, events FROM spans WHERE trace IN ({_OLDEST})",
            portion,
        )
        execute(f"DELETE FROM calls WHERE span IN (SELECT id FROM spans WHERE trace IN ({_OLDEST}))", portion)  # noqa: S608
        execute(f"DELETE FROM spans WHERE trace IN ({_OLDEST})", portion)  # noqa: S608
        execute(f"DELETE FROM traces WHERE id IN ({_OLDEST})", portion)  # noqa: S608
        # Log records lie in the order of their arrival, which is nearly that of their times.
        last = execute(
            "SELECT max(id) FROM (SELECT id FROM logs WHERE id < coalesce("
            "(SELECT id FROM logs WHERE time >= ? ORDER BY id LIMIT 1), 9e18) ORDER BY id LIMIT ?)",
            (end, self._logs),
        ).fetchone()[0]
        if last is not None:
            self._delete_logs(last)
        execute(
            "DELETE FROM points WHERE (series, time) IN"
            " (SELECT series, time FROM points WHERE until < ? ORDER BY until LIMIT ?)",
            (end, self._points),
        )
        execute("DELETE FROM exemplars WHERE time < ?", (end,))
        execute("DELETE FROM requests WHERE step = 5 AND slot < ?", (end // SECOND,))
        execute("DELETE FROM requests WHERE step = 60 AND slot < ?", (end // SECOND - 60,))
        for table in ("shape_minutes", "shape_durations", "edges"):
            execute(f"DELETE FROM {table} WHERE minute < ?", (end // MINUTE,))  # noqa: S608
        return self._connection.total_changes > before
