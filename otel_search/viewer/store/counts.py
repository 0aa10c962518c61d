"""What one batch adds to the tables of minutes and buckets: added up first, written once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from otel_search.viewer.store.buckets import bucket_of

if TYPE_CHECKING:
    import sqlite3

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
STEPS = (5, 60)
"""Seconds of the slots that requests are counted in: for the last minutes, and for the last hours."""


class Counts:
    """Adds up requests, calls and edges."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[int, int, str, str, bool, int]] = Counter()
        self._shapes: dict[tuple[int, int], list[float]] = {}
        self._durations: Counter[tuple[int, int, int]] = Counter()
        self._edges: Counter[tuple[int, str, str, str, bool, int]] = Counter()

    def request(self, start: int, duration: int, service: str, route: str, *, error: bool) -> None:
        """Count a request that a service was asked."""
        bucket = bucket_of(duration)
        for step in STEPS:
            self._requests[step, (start + duration) // SECOND // step * step, service, route, error, bucket] += 1

    def call(self, start: int, duration: int, shape: int, took: float | None, outcome: str, *, is_search: bool) -> None:
        """Count an Elasticsearch call."""
        minute = start // MINUTE
        row = self._shapes.setdefault((minute, shape), [0, 0.0, 0, 0, 0, 0, 0])
        row[0] += 1
        if took is not None:
            row[1] += took
            row[2] += 1
        row[3] += is_search
        row[4] += outcome == "empty"
        row[5] += outcome in ("partial", "timeout")
        row[6] += outcome == "error"
        self._durations[minute, shape, bucket_of(duration)] += 1

    def edge(self, start: int, duration: int, service: str, peer: tuple[str, str], *, error: bool) -> None:
        """Count a call from a service to a peer, which is a name and a kind."""
        self._edges[start // MINUTE, service, peer[0][:300], peer[1], error, bucket_of(duration)] += 1

    def write(self, connection: sqlite3.Connection) -> None:
        """Add to what is stored."""
        connection.executemany(
            "INSERT INTO requests (step, slot, service, route, error, bucket, count) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(*key, count) for key, count in self._requests.items()],
        )
        connection.executemany(
            "INSERT INTO shape_minutes (minute, shape, count, took, tooks, searches, empty, partial, errors)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,"
            " took = took + excluded.took, tooks = tooks + excluded.tooks, searches = searches + excluded.searches,"
            " empty = empty + excluded.empty, partial = partial + excluded.partial, errors = errors + excluded.errors",
            [(*key, *row) for key, row in self._shapes.items()],
        )
        connection.executemany(
            "INSERT INTO shape_durations (minute, shape, bucket, count) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(*key, count) for key, count in self._durations.items()],
        )
        connection.executemany(
            "INSERT INTO edges (minute, source, target, kind, error, bucket, count) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(*key, count) for key, count in self._edges.items()],
        )
